"""A few lines of SVG that the recipes' pictures are made of."""

from html import escape

COLOURS = ["#36c", "#c33", "#393", "#963"]


class Picture:
    """Shapes in drawing order; coordinates are pixels, the origin top left."""

    def __init__(self, width, height):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
            '<rect width="100%" height="100%" fill="#fff"/>'
        ]

    def text(self, x, y, words, size=12, anchor="start", fill="#000", weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
            f'font-weight="{weight}">{escape(str(words))}</text>'
        )

    def line(self, points, stroke="#ddd", width=1.0, dash=None):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline fill="none" stroke="{stroke}" stroke-width="{width}"{dash} points="{path}"/>')

    def dot(self, x, y, fill, radius=3.5, opacity=1):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" fill-opacity="{opacity}"/>')

    def done(self):
        return "\n".join(self.parts) + "</svg>\n"
