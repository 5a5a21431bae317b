"""Chaos: clients that do what they like, a site whose processes are killed, and a judge who reads the record."""
