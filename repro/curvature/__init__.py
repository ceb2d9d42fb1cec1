"""Curvatures of any problem as operators: products, quadratic forms, layer blocks; never a dense matrix."""
