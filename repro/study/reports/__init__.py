"""What is made of the results: notebooks carried out, one page, tables on a terminal."""
