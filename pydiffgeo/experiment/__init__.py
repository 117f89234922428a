"""Experiments: settings in, trained and judged hybrids out; the only part of the package that reads settings trees."""
