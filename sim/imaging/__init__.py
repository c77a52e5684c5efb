"""From a specimen to grey values: depth, scan and detector."""
