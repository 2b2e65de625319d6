"""Tokens: who may do what with which databases. Knows stores; knows no HTTP.

`record` is what the store keeps of them, `keeping` changes it, `table` is what a server holds requests against.
"""

from virke.tokens.keeping import create, listing, new_text, revoke
from virke.tokens.record import Token, check_pattern, matches
from virke.tokens.table import Forbidden, Granted, TokenTable, Unauthorized

__all__ = [
    "Forbidden",
    "Granted",
    "Token",
    "TokenTable",
    "Unauthorized",
    "check_pattern",
    "create",
    "listing",
    "matches",
    "new_text",
    "revoke",
]
