"""How numbers are computed: in batches, in loops, on several devices, in an order that a processor is fast at."""
