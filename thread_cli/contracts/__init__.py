"""The contracts between the parts of `thread`: data, enumerations, errors and protocols, without logic."""
