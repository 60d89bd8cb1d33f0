"""The icon set: a 20 px grid, 1.7 strokes, square ends; drawn in place, beside a word."""

from flask import Flask
from markupsafe import Markup

_PATHS: dict[str, str] = {
    "book": '<path d="M4 3.5h12v13H4ZM7.5 3.5v13M10 7.5h3.5M10 10.5h3.5"/>',
    "check": '<path d="M3.5 10.5 8 15l8.5-10"/>',
    "chip": (
        '<path d="M5.5 5.5h9v9h-9ZM8 5.5V3M12 5.5V3M8 17v-2.5M12 17v-2.5M5.5 8H3M5.5 12H3'
        'M17 8h-2.5M17 12h-2.5"/>'
    ),
    "clock": '<circle cx="10" cy="10" r="7"/><path d="M10 6v4.3l3 2"/>',
    "door": '<path d="M8.5 3.5h8v13h-8M3 10h9M9 7l3 3-3 3"/>',
    "down": '<path d="M10 3v9.5M6 9l4 4 4-4M3.5 16.5h13"/>',
    "filter": '<path d="M3 5.5h14M5.5 10h9M8 14.5h4"/>',
    "go": '<path d="M3.5 10h12M11.5 5.5 16 10l-4.5 4.5"/>',
    "back": '<path d="M16.5 10h-12M8.5 5.5 4 10l4.5 4.5"/>',
    "grades": '<path d="M3.5 16.5h13M5.5 16.5v-5M10 16.5v-12M14.5 16.5v-8"/>',
    "hand": '<path d="M4 16l1-4 8.5-8.5 3 3L8 15l-4 1ZM12 5l3 3"/>',
    "home": '<path d="M3 9.5 10 3.5l7 6M5 8v8.5h10V8M8.5 16.5v-5h3v5"/>',
    "key": '<circle cx="6.5" cy="13.5" r="3"/><path d="M8.7 11.3 16.5 3.5M13 7l2.5 2.5"/>',
    "lock": '<path d="M4.5 9h11v7.5h-11ZM7 9V6.5a3 3 0 0 1 6 0V9"/>',
    "note": '<path d="M4 3.5h12v10l-3 3H4ZM7 7.5h6M7 10.5h6"/>',
    "people": (
        '<circle cx="7.5" cy="7" r="3"/><path d="M2.5 16.5c0-3.2 2-4.8 5-4.8s5 1.6 5 4.8'
        'M13 4.5a3 3 0 0 1 0 5.4M14.8 12.2c1.7.7 2.7 2.1 2.7 4.3"/>'
    ),
    "person": (
        '<circle cx="10" cy="7" r="3"/><path d="M4.5 16.5c0-3.2 2-4.8 5.5-4.8s5.5 1.6 5.5 4.8"/>'
    ),
    "plus": '<path d="M10 4v12M4 10h12"/>',
    "seal": '<path d="M3.5 3.5h13v13h-13ZM6.5 10.2 9 12.8l4.6-5.6"/>',
    "seal-q": '<path d="M3.5 3.5h13v13h-13ZM6.5 10h7"/>',
    "seal-x": '<path d="M3.5 3.5h13v13h-13ZM7 7l6 6M13 7l-6 6"/>',
    "search": '<circle cx="8.7" cy="8.7" r="5.2"/><path d="M12.7 12.7 17 17"/>',
    "stop": '<path d="M6.9 2.5h6.2l4.4 4.4v6.2l-4.4 4.4H6.9l-4.4-4.4V6.9ZM10 6v5M10 13.4v.6"/>',
    "teach": '<path d="M3 4.5h14v9H3ZM7 17l3-3.5 3 3.5M6.5 7.5h7M6.5 10.5h4"/>',
    "turn": '<path d="M16.5 10A6.5 6.5 0 1 1 13.2 4.3M16.5 3v4h-4"/>',
    "up": '<path d="M10 13V3.5M6 7l4-4 4 4M3.5 16.5h13"/>',
    "x": '<path d="M5 5l10 10M15 5 5 15"/>',
}

_BRAND = (
    '<svg viewBox="0 0 24 28" aria-hidden="true" fill="none" stroke="currentColor" '
    'stroke-width="2"><path d="M2 1.5h20v25H2zM8 1.5v25M2 5.5h6M2 9.8h6M2 14h6M2 18.2h6'
    'M2 22.5h6"/></svg>'
)


def icon(name: str) -> Markup:
    """Return the icon `name`, hidden from screen readers; raises KeyError for an unknown one."""
    return Markup(  # noqa: S704 - made of constants
        f'<svg class="icon" viewBox="0 0 20 20" aria-hidden="true">{_PATHS[name]}</svg>'
    )


def brand_mark() -> Markup:
    """Return the mark of the house: a bound book."""
    return Markup(_BRAND)  # noqa: S704 - a constant


def init_icons(app: Flask) -> None:
    """Give the templates `icon` and `brand_mark`."""
    app.jinja_env.globals.update(icon=icon, brand_mark=brand_mark)
