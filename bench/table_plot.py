#!/usr/bin/env python3
"""Draws the ratios of docs/table.csv as bars, one group a width, without any library.

usage: bench/table_plot.py CSV PNG
"""
import csv
import struct
import sys
import zlib

# 5 x 7 dots a character, a row a number; only what the picture needs.
GLYPHS = {
    "0": "69996", "1": "26227", "2": "69247", "3": "e161e", "4": "99f11", "5": "f8e1e",
    "6": "68e96", "7": "f1244", "8": "69696", "9": "69716", ".": "00004", " ": "00000",
    "a": "06157", "b": "88e9e", "c": "07887", "d": "11797", "e": "06bc6", "f": "34e44",
    "g": "07971", "h": "88e99", "i": "20222", "k": "89aca", "l": "62227", "m": "0fbbb",
    "n": "0e999", "o": "06996", "p": "0e9e8", "r": "0ac88", "s": "0786e", "t": "4e443",
    "u": "09997", "w": "0bbbf", "x": "09669", "y": "09971", "z": "0f24f", "-": "00700",
    "_": "0000f", "/": "11248", "v": "09996", "q": "07971",
}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1200, 520, 60, 60, 440
COLOURS = {("lookup", "uniform"): (31, 90, 160), ("lookup", "zipf"): (110, 165, 220),
           ("update", "uniform"): (170, 80, 20), ("update", "zipf"): (235, 160, 90),
           ("absl_slab", ""): (130, 130, 130), ("unordered_map", ""): (190, 190, 190)}


class Picture:
    def __init__(self):
        self.rows = [bytearray(b"\xff" * 3 * WIDTH) for _ in range(HEIGHT)]

    def box(self, x0, y0, x1, y1, colour):
        for y in range(max(0, int(y0)), min(HEIGHT, int(y1))):
            for x in range(max(0, int(x0)), min(WIDTH, int(x1))):
                self.rows[y][3 * x:3 * x + 3] = bytes(colour)

    def text(self, x, y, words, scale=2, colour=(0, 0, 0)):
        for letter in words.lower():
            for row, dots in enumerate(GLYPHS.get(letter, "00000")):
                for column in range(4):
                    if int(dots, 16) >> (3 - column) & 1:
                        left, top = x + column * scale, y + row * scale
                        self.box(left, top, left + scale, top + scale, colour)
            x += 5 * scale

    def save(self, path):
        def chunk(kind, data):
            return (struct.pack(">I", len(data)) + kind + data +
                    struct.pack(">I", zlib.crc32(kind + data)))
        raw = b"".join(b"\0" + bytes(row) for row in self.rows)
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" +
                       chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)) +
                       chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    picture = Picture()
    picture.text(LEFT, 20, "ratio to the tuned gather limit. 10 m rows. batches of 8192", 2)
    height = BOTTOM - TOP
    for tenth in range(0, 11, 2):
        y = BOTTOM - height * tenth / 10
        picture.box(LEFT, y, WIDTH - 20, y + 1, (210, 210, 210))
        picture.text(10, int(y) - 5, f"{tenth / 10:.1f}", 2)
    x = LEFT + 15
    for dim in sorted({int(line["dim"]) for line in lines}):
        start = x
        for line in (entry for entry in lines if int(entry["dim"]) == dim):
            own = line["system"] == "emporium"
            colour = COLOURS[(line["what"], line["keys"]) if own else (line["system"], "")]
            top = BOTTOM - height * float(line["ratio"])
            picture.box(x, top, x + 24, BOTTOM, colour)
            middle = x + 12
            picture.box(middle - 1, BOTTOM - height * float(line["high"]), middle + 1,
                        BOTTOM - height * float(line["low"]), (0, 0, 0))
            picture.text(x, int(top) - 14, f"{float(line['ratio']):.2f}"[1:], 2)
            x += 30
        picture.text(start, BOTTOM + 10, f"dim {dim}", 2)
        x += 40
    x = LEFT
    for (what, keys), colour in COLOURS.items():
        picture.box(x, 485, x + 14, 499, colour)
        picture.text(x + 20, 487, f"{what} {keys}".strip(), 2)
        x += 190
    picture.save(sys.argv[2])


if __name__ == "__main__":
    main()
