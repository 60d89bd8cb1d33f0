"""The plain page on which laptops get the box's authority: no TLS yet, nothing else, no state.

    python -m lms.outposts.tls.page ADDRESS PORT CERTIFICATE FINGERPRINT SITE

Anybody on the line could change what it shows, so it asks people to compare the fingerprint with
the printed sheet.
"""

import html
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE = "/seodang-authority.crt"
_PAGE = """<!doctype html>
<html lang="ko"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Seodang · 서당</title>
<body style="font:1.1rem/1.6 sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem">
<h1>서당에 안전하게 접속하기</h1>
<ol><li><a href="{file}">이 장소의 인증서</a>를 받아 “신뢰할 수 있는 루트 인증 기관”으로
설치하세요.</li>
<li>설치할 때 보이는 지문(SHA-256)을 인쇄된 안내문과 비교하세요. 다르면 설치하지 마세요.</li>
<li><a href="{site}">{site}</a> 을(를) 여세요.</li></ol>
<h1 lang="en">Connect to Seodang safely</h1>
<ol lang="en"><li>Get <a href="{file}">this venue's certificate</a> and install it as a trusted root
authority.</li>
<li>Compare the fingerprint (SHA-256) that you are shown with the printed sheet. If they differ, do
not install it.</li>
<li>Open <a href="{site}">{site}</a>.</li></ol>
<p>SHA-256</p><p style="font-family:monospace;overflow-wrap:anywhere">{fingerprint}</p>
"""


def serve(address: str, port: int, certificate: Path, words: dict[str, str]) -> ThreadingHTTPServer:
    """Return the server, which listens already."""
    page = _PAGE.format(file=FILE, **{key: html.escape(value) for key, value in words.items()})

    class Page(BaseHTTPRequestHandler):
        """Answers with the page or the certificate."""

        #: Seconds for one request: nobody holds a thread for longer.
        timeout = 20

        def do_GET(self) -> None:
            """Answer."""
            if self.path == FILE:
                self._answer("application/x-x509-ca-cert", certificate.read_bytes())
            else:
                self._answer("text/html; charset=utf-8", page.encode())

        def _answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_words: object) -> None:
            """Keep quiet: who asks is nobody's business."""

    return ThreadingHTTPServer((address, port), Page)


if __name__ == "__main__":
    words = {"fingerprint": sys.argv[4], "site": sys.argv[5]}
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), words).serve_forever()
