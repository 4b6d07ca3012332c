"""Which videos belong together: the group of a video, which no split may tear apart, from its name. No torch.

Videos of a group are of one recording, film or person, so they are no independent samples."""
import os
import re

END = r'(\.\w+)?'  # of a video file
UCF101 = re.compile(rf'(v_.+_g\d+)_c\d+{END}')  # v_{class}_g{group}_c{clip}
# {film}_{class}_{visible body}_{camera motion}_np{people}_{view}_{quality}_{cut}
HMDB51 = re.compile(rf'(.+)_[fhlu]_[cn]m_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+{END}')
KINETICS = re.compile(rf'([\w-]{{11}})_\d{{6}}_\d{{6}}{END}')  # {youtube id}_{start}_{end}
PART = re.compile(r'(_\d{1,2})+$')  # of a film, at the end of its name


def group_of(path: str, group_regex: str | None = None) -> str:
    """The group that the name of a video tells: of its first group in `group_regex` (or whole match), else as UCF101,
    HMDB51 and Kinetics name their videos; '' if the video is a group of its own.

    >>> group_of('Surfing/v_Surfing_g03_c01.avi'), group_of('brush_hair/Rocky_4_brush_hair_h_nm_np1_le_goo_0')
    ('v_Surfing_g03', 'Rocky')
    >>> group_of('yoga/-3B32lodo2M_000059_000069'), group_of('run/mine'), group_of('run/ann_take2', r'^(\\w+)_take')
    ('-3B32lodo2M', '', 'ann')
    """
    folder, name = os.path.split(path)
    found = re.search(group_regex, name) if group_regex else None
    if found:
        return (found[1] if found.re.groups else found[0]) or ''
    if found := UCF101.fullmatch(name) or KINETICS.fullmatch(name):
        return found[1]
    if found := HMDB51.fullmatch(name):
        return PART.sub('', found[1].removesuffix('_' + os.path.basename(folder)))
    return ''
