"""Pure codecs, one module a wire; none of them touches a socket."""
