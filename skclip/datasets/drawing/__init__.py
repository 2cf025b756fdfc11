"""How the drawn data sets are drawn: strokes, fonts, colors, textures."""
