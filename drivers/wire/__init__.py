"""Pure codecs, one module per wire; none of them touches a socket."""
