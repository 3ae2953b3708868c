"""The questions that the dashboard asks of its view, as SQL over ``view.layout``. Every value is bound, never written in.

Each question looks at a bounded number of rows (``WINDOW``, and what is near it), whatever it asks: what is dense fills its
page within them, what is rare has an index of its own, and the rest ends a page early and says so.
"""
