"""Color spaces of files that name one without a profile, as ICC profiles that the same code converts from.

Code points are those of ITU-T H.273, tables 2 (primaries) and 3 (transfer); PNG's cICP chunk and AVIF's nclx
property use them. The profiles are matrix and curve profiles of ICC.1:2010, section 8.4.3. No I/O.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


type Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of red, green, blue and white."""
type _Vector = tuple[float, float, float]
type _Matrix = tuple[_Vector, _Vector, _Vector]

_D65 = (0.3127, 0.3290)
_ILLUMINANT_C = (0.310, 0.316)
SRGB_PRIMARIES: Final[Chromaticities] = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
_PRIMARIES: Final[dict[int, Chromaticities]] = {
    1: SRGB_PRIMARIES,
    4: (0.670, 0.330, 0.210, 0.710, 0.140, 0.080, *_ILLUMINANT_C),
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_ILLUMINANT_C),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
PQ, HLG = 16, 18
HDR_TRANSFERS: Final = frozenset({PQ, HLG})
# Parametric curves (ICC.1, section 10.16): gamma alone, or gamma and the parameters a to d of type 3.
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_PARAMETERS: Final[dict[int, tuple[float, ...]]] = {
    # Browsers (Chromium, ui/gfx/color_space.cc) show the transfer functions of television like sRGB.
    **dict.fromkeys((1, 6, 11, 12, 13, 14, 15), _SRGB_CURVE),
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 0.25, 0.0913),
    8: (1.0,),
    17: (2.6,),
}
_UNSPECIFIED: Final = 2
_CURVE_POINTS: Final = 4096
# The luminance of diffuse white (ITU-R BT.2408, section 2.1) in cd/m², and the peaks of PQ (BT.2100, table 4)
# and of a nominal HLG display. What is brighter than white is clipped.
_WHITE, _PQ_PEAK, _HLG_PEAK = 203.0, 10_000.0, 1_000.0
_HLG_SYSTEM_GAMMA = 1.2
# The profile connection space's white (ICC.1, section 7.2.16), and the Bradford matrix (annex E).
_D50: Final[_Vector] = (0.9642, 1.0, 0.8249)
_BRADFORD: Final[_Matrix] = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)


def build_coded_profile(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of a color space of H.273, None for sRGB and for codes that mean nothing here.

    HDR transfer functions are mapped to white at the luminance of diffuse white: dark and middle tones are
    right, highlights are lost.
    """
    primaries = 1 if primaries == _UNSPECIFIED else primaries
    transfer = 13 if transfer == _UNSPECIFIED else transfer
    chromaticities = _PRIMARIES.get(primaries)
    if chromaticities is None:
        return None
    if transfer in HDR_TRANSFERS:
        return _build_profile(chromaticities, _build_table(_decode_pq if transfer == PQ else _decode_hlg))
    parameters = _PARAMETERS.get(transfer)
    if parameters is None or (primaries == 1 and parameters is _SRGB_CURVE):
        return None
    return _build_profile(chromaticities, _build_curve(*parameters))


def build_gamma_profile(chromaticities: Chromaticities | None, gamma: float | None) -> bytes | None:
    """Return the profile of primaries and decoding exponent, those of sRGB where None is given.

    Returns None for primaries that describe no color space.
    """
    curve = _build_curve(*_SRGB_CURVE) if gamma is None else _build_curve(gamma)
    try:
        return _build_profile(chromaticities or SRGB_PRIMARIES, curve)
    except (ZeroDivisionError, struct.error):
        return None


def _decode_pq(value: float) -> float:
    """Return the luminance, relative to diffuse white (BT.2100, table 4)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = value ** (1 / m2)
    return float((max(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1)) * _PQ_PEAK / _WHITE


def _decode_hlg(value: float) -> float:
    """Return the luminance, relative to diffuse white (BT.2100, table 5), with the system gamma of a gray."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    middle = 0.5
    scene = value * value / 3 if value <= middle else (2.718281828459045 ** ((value - c) / a) + b) / 12
    return float(scene**_HLG_SYSTEM_GAMMA) * _HLG_PEAK / _WHITE


def _build_table(decode: Callable[[float], float]) -> bytes:
    last = _CURVE_POINTS - 1
    values = (round(min(1.0, decode(index / last)) * 0xFFFF) for index in range(_CURVE_POINTS))
    return struct.pack(f">4s4xI{_CURVE_POINTS}H", b"curv", _CURVE_POINTS, *values)


def _build_curve(*parameters: float) -> bytes:
    kind = 3 if len(parameters) > 1 else 0
    numbers = (_encode_fixed(value) for value in parameters)
    return struct.pack(">4s4xHxx", b"para", kind) + b"".join(numbers)


def _build_profile(chromaticities: Chromaticities, curve: bytes) -> bytes:
    """Return a display profile (ICC.1, sections 7 and 8.4.3). Raises ZeroDivisionError, struct.error."""
    white, red, green, blue = _calculate_colorants(chromaticities)
    tags: list[tuple[bytes, bytes]] = [(b"wtpt", _build_xyz(white))]
    tags += [(name, _build_xyz(xyz)) for name, xyz in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue))]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        table += struct.pack(">4sII", name, offset + len(data), len(content))
        data += content + b"\0" * (-len(content) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s24xI12s48x",
        offset + len(data),
        0x04300000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"acsp",
        # Relative colorimetric.
        1,
        b"".join(_encode_fixed(value) for value in _D50),
    )
    return header + table + data


def _build_xyz(xyz: _Vector) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_encode_fixed(value) for value in xyz)


def _encode_fixed(value: float) -> bytes:
    """Return an s15Fixed16Number."""
    return struct.pack(">i", round(value * 0x10000))


def _calculate_colorants(chromaticities: Chromaticities) -> tuple[_Vector, _Vector, _Vector, _Vector]:
    """Return white and the three primaries as XYZ, adapted to D50 (ICC.1, annexes E and F)."""
    red, green, blue, white = (_to_xyz(*chromaticities[index : index + 2]) for index in (0, 2, 4, 6))
    scales = _multiply(_invert(_transpose((red, green, blue))), white)
    cone_white, cone_d50 = _multiply(_BRADFORD, white), _multiply(_BRADFORD, _D50)
    inverse = _invert(_BRADFORD)

    def adapt(xyz: _Vector, scale: float) -> _Vector:
        cones = _multiply(_BRADFORD, xyz)
        adapted = [cone * scale * d50 / w for cone, d50, w in zip(cones, cone_d50, cone_white, strict=True)]
        return _multiply(inverse, (adapted[0], adapted[1], adapted[2]))

    return _D50, adapt(red, scales[0]), adapt(green, scales[1]), adapt(blue, scales[2])


def _to_xyz(x: float, y: float) -> _Vector:
    return (x / y, 1.0, (1 - x - y) / y)


def _transpose(matrix: _Matrix) -> _Matrix:
    a, b, c = zip(*matrix, strict=True)
    return (a, b, c)


def _multiply(matrix: _Matrix, vector: _Vector) -> _Vector:
    a, b, c = (sum(x * y for x, y in zip(row, vector, strict=True)) for row in matrix)
    return (a, b, c)


def _invert(matrix: _Matrix) -> _Matrix:
    """Return the inverse: the cross products of the rows as columns, divided by the determinant."""
    a, b, c = matrix
    columns = (_cross(b, c), _cross(c, a), _cross(a, b))
    determinant = sum(x * y for x, y in zip(a, columns[0], strict=True))
    scaled = tuple((x / determinant, y / determinant, z / determinant) for x, y, z in columns)
    return _transpose((scaled[0], scaled[1], scaled[2]))


def _cross(a: _Vector, b: _Vector) -> _Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
