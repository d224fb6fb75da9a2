"""From the colours of a picture, whatever its mode and colour profile, to RGB as a screen shows it (sRGB)."""

import io

from PIL import Image, ImageCms

from core.errors import UserError

BITS_16_TO_8 = 257
_SRGB = ImageCms.createProfile("sRGB")
_LAB = ImageCms.createProfile("LAB")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, its embedded colour profile applied, transparency over white, 16 bit scaled to 8.

    Raises `UserError` for values that are no colours.
    """
    if image.mode in ("I", "F"):
        raise UserError("The picture holds measurements, not colours: use an ordinary photo.")
    profile, described = _profile(image)
    if image.mode == "LAB":
        return _converted(image, ImageCms.ImageCmsProfile(_LAB))
    if image.mode == "CMYK" and profile and described == "CMYK":
        return _converted(image, profile)
    if image.mode.startswith("I;16"):
        image.info.pop("transparency", None)  # a 16 bit key says nothing about 8 bit values
        image = image.convert("F").point(lambda value: value / BITS_16_TO_8 + 0).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    if profile and described == "GRAY":
        return _converted(image.convert("L"), profile)
    return _converted(image, profile) if profile and described == "RGB" else image


def _profile(image: Image.Image) -> tuple[ImageCms.ImageCmsProfile | None, str]:
    """Return the colour profile of a picture, None for none, a damaged one or sRGB, and the colours it describes."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info.get("icc_profile") or b""))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return None, ""
        return profile, profile.profile.xcolor_space.strip()
    except Exception:  # of an odd profile: the pixels are intact
        return None, ""


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Return a picture in sRGB; as Pillow converts it where the profile cannot be used."""
    try:
        converted = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, ValueError, OSError):
        converted = None
    return converted or image.convert("RGB")
