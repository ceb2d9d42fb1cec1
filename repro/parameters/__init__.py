"""Vectors of parameter space, cut into layers, and what a layer's linear map sees."""
