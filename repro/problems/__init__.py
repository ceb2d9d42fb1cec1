"""What is optimised: problems that draw samples, evaluate them, and know the geometry that a step is taken in."""
