"""Canopies: leaves in sun and shade over a soil."""
