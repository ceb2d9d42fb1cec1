"""Output of the results: executed notebooks, a report of one page, tables on a terminal."""
