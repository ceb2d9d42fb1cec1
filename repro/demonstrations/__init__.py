"""What the lectures show, computed: small problems, each with the numbers that its claims rest on."""
