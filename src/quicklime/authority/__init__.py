"""The command path, and the only writer of the log: decide, append, wait for our offset, sign, append, answer.

``ledger.py`` appends and waits; every other module here decides what, one kind of command each. Nothing outside this
package appends (``tests/house`` checks the syntax tree).
"""
