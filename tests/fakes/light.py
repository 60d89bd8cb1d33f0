"""Imported first where processes start by the dozen: leaves out what takes long to import.

jsonschema's check of addresses compiles a grammar for two seconds; notebooks hold no addresses.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
