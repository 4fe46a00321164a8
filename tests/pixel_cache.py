"""A pixel cache with some images and masks in it, as committed intakes leave it."""

from clnm.imaging import cache


def fill(root, *, images=None, masks=None):
    room = cache.new_room(root, "filled")
    for key, luminance in (images or {}).items():
        cache.write_image(room, key, luminance)
        cache.accept_image(room, key, key)
    for key, mask in (masks or {}).items():
        cache.write_mask(room, key, mask)
    cache.close_rooms(root, {"filled"})
