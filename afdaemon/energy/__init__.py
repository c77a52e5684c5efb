"""Energy series: what lies under the surface, from images of one field at many beam energies."""
