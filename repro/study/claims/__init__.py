"""The claims, what is measured for each, and the tests that give the verdicts."""
