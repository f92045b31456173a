"""Grammars, in GBNF, that requests can ask for by name."""

from __future__ import annotations

from typing import Final

__all__ = ["JSON"]

JSON: Final = r"""
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" gap (member ("," gap member)*)? "}" gap
member ::= string gap ":" gap value gap
array  ::= "[" gap (value gap ("," gap value gap)*)? "]"
string ::= "\"" char* "\""
char   ::= [^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" hex hex hex hex)
hex    ::= [0-9a-fA-F]
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
gap    ::= "\n"? " "{0,8}
"""
"""A JSON object (RFC 8259). White space is short, for small models lose themselves in it."""
