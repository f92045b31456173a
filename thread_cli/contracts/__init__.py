"""What the parts of `thread` are to one another: data, enumerations, errors and protocols, without logic."""
