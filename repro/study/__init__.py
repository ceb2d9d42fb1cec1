"""The study: profiles, stored runs, figures."""
