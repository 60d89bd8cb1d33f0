"""Dates, times, sizes and points as people read them, in the language of the answer."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from babel.dates import format_date as babel_date
from babel.dates import format_time as babel_time
from flask import Flask

from lms.web.i18n import current_locale, gettext, ngettext

#: Where people read the clock, unless they say otherwise.
ZONE = ZoneInfo("Asia/Seoul")

_DAY = {"ko": "M월 d일 EEEE", "en": "EEEE d MMMM"}
_DAY_YEAR = {"ko": "y년 M월 d일", "en": "d MMMM y"}
_SHORT_DAY = {"ko": "M월 d일", "en": "d MMM"}
_WEEKDAY = {"ko": "EEEE", "en": "EEE"}
_MONTH_WEEKDAY = {"ko": "M월 EEEE", "en": "EEE, MMM"}
#: From here on a larger unit reads better, and a decimal says nothing.
_NEXT_UNIT, _ONE_DIGIT = 1000, 10
_MINUTE, _HOUR, _WEEK_DAYS = 60, 60, 7
_WEEKDAY_SHORT = {"ko": "EEE", "en": "EEE"}


def init_dates(app: Flask) -> None:
    """Give the templates the filters of this module."""
    app.jinja_env.filters.update(
        day=day,
        day_year=day_year,
        short_day=short_day,
        weekday=weekday,
        weekday_short=weekday_short,
        month_weekday=month_weekday,
        clock_time=clock_time,
        clock_seconds=clock_seconds,
        moment=moment,
        here=here,
        points=points,
        size=size,
        seconds=seconds,
        minutes=minutes,
    )


def here(value: datetime) -> datetime:
    """Return the instant on the reader's clock."""
    return value.astimezone(ZONE)


def _as_date(value: date | datetime) -> date:
    return here(value).date() if isinstance(value, datetime) else value


def _format(value: date | datetime, patterns: dict[str, str]) -> str:
    locale = current_locale()
    return str(babel_date(_as_date(value), patterns[locale], locale=locale))


def day(value: date | datetime) -> str:
    """Return the day with its weekday, without the year."""
    return _format(value, _DAY)


def day_year(value: date | datetime) -> str:
    """Return the day with its year."""
    return _format(value, _DAY_YEAR)


def short_day(value: date | datetime) -> str:
    """Return the day as short as it stays clear."""
    return _format(value, _SHORT_DAY)


def weekday(value: date | datetime) -> str:
    """Return the name of the weekday."""
    return _format(value, _WEEKDAY)


def weekday_short(value: date | datetime) -> str:
    """Return the weekday in its shortest form."""
    return _format(value, _WEEKDAY_SHORT)


def month_weekday(value: date | datetime) -> str:
    """Return the month and the weekday, to stand under a day's number."""
    return _format(value, _MONTH_WEEKDAY)


def clock_time(value: datetime) -> str:
    """Return hours and minutes."""
    return str(babel_time(here(value).time(), "HH:mm", locale=current_locale()))


def clock_seconds(value: datetime) -> str:
    """Return hours, minutes and seconds."""
    return str(babel_time(here(value).time(), "HH:mm:ss", locale=current_locale()))


def moment(value: datetime) -> str:
    """Return day, year and time."""
    return (
        f"{day_year(value)}, {clock_time(value)}"
        if current_locale() == "en"
        else (f"{day_year(value)} {clock_time(value)}")
    )


def points(value: float) -> str:
    """Return a score with at most two decimals and no idle zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def size(count: int) -> str:
    """Return a number of bytes in the largest fitting unit."""
    amount, unit = float(count), "B"
    for larger in ("KB", "MB", "GB"):
        if amount < _NEXT_UNIT:
            break
        amount, unit = amount / 1024, larger
    digits = 0 if amount >= _ONE_DIGIT or amount.is_integer() else 1
    return f"{amount:.{digits}f} {unit}"


def seconds(value: float) -> str:
    """Return a short span of time, such as a run's."""
    if value < _MINUTE:
        return gettext("%(n)s s", n=f"{value:.1f}")
    return gettext("%(m)s min %(s)s s", m=int(value // 60), s=int(value % 60))


def minutes(value: int) -> str:
    """Return a span given in minutes, in hours where that reads better."""
    if value < _HOUR:
        return gettext("%(n)s min", n=value)
    hours, rest = divmod(value, 60)
    if not rest:
        return gettext("%(h)s h", h=hours)
    return gettext("%(h)s h %(m)s min", h=hours, m=rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """What remains until a deadline: its two largest units, each with its word."""

    parts: tuple[tuple[int, str], ...]
    #: True on the last day: the deadline needs the person now.
    is_near: bool


def time_left(due_at: datetime, now: datetime) -> TimeLeft | None:
    """Return what remains until `due_at`; None once it has passed."""
    rest = due_at - now
    if rest <= timedelta(0):
        return None
    whole_minutes = int(rest.total_seconds() // 60)
    days, hours, mins = whole_minutes // 1440, whole_minutes // 60 % 24, whole_minutes % 60
    day_part = (days, ngettext("day", "days", days))
    hour_part = (hours, gettext("h"))
    if days >= _WEEK_DAYS:
        parts: tuple[tuple[int, str], ...] = (day_part,)
    elif days:
        parts = (day_part, hour_part)
    elif hours:
        parts = (hour_part, (mins, gettext("min")))
    else:
        parts = ((mins, gettext("min")),)
    return TimeLeft(parts=parts, is_near=days == 0)


def due_phrase(due_at: datetime | None, now: datetime) -> str:
    """Say when something is due, as near as the reader thinks of it."""
    if due_at is None:
        return gettext("No deadline")
    days = (_as_date(due_at) - _as_date(now)).days
    time = clock_time(due_at)
    if due_at <= now:
        return gettext("Was due %(day)s, %(time)s", day=short_day(due_at), time=time)
    if days == 0:
        return gettext("Due today, %(time)s", time=time)
    if days == 1:
        return gettext("Due tomorrow, %(time)s", time=time)
    return gettext("Due %(day)s, %(time)s", day=day(due_at), time=time)
