"""How images of the drawn data sets are made and captioned: strokes, fonts, colors, grammar."""
