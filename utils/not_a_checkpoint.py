"""What a file that can't be loaded as a checkpoint is instead, and what to do with it."""
import re
import zipfile

# first bytes: what they begin and the remedy
STARTS = {
    rb'\s*(<!doctype|<html|<\?xml|<!--)': 'a web page, not a file of weights: the download failed; get the file itself',
    rb'version https://git-lfs': 'a Git LFS pointer, not the file it stands for: run git lfs pull',
    rb'\x1f\x8b': 'compressed with gzip: unpack it first (gunzip, or tar xzf)',
}
SAFETENSORS = rb'.{7}\0\{'
OBJECT = re.compile(r'GLOBAL ([\w.]+) was not an allowed global')


def what_it_is(path, error):
    """In words, for a message that begins with the path.

    path:  of a file that can be read
    error: of torch.load or zipfile"""
    with open(path, 'rb') as file:
        start = file.read(4096)
    if words := known_start(start):
        return words
    if not start:
        return 'is not a readable checkpoint: it is empty; take another copy'
    if is_text(start):
        return 'is not a readable checkpoint: it is a text file; give a .pth.tar of a run'
    if re.match(SAFETENSORS, start, re.DOTALL):
        return ('is a safetensors file: give the folder that it is in if eval/export.py wrote it, else store what '
                'safetensors.torch.load_file gives with torch.save')
    if is_torchscript(path):
        return 'is a TorchScript program: store the state_dict() of torch.jit.load(…) with torch.save'
    found = OBJECT.search(str(error))
    if found:
        return (f'is not a readable checkpoint: it holds a {found[1]}, and only tensors, numbers and strings are '
                'loaded, as other objects could run code; store it again without')
    return ('is not a readable checkpoint: it may be cut short, or hold more than tensors, numbers and strings; take '
            'another copy')


def known_start(start):
    """What begins with these bytes and can't hold weights, in words as above; None: unknown."""
    for pattern, words in STARTS.items():
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            return f'is {words}'
    return None


def is_text(start):
    """Whether the first bytes of a file are UTF-8 without control characters; the last one may be cut off."""
    text = start.decode('utf-8', 'replace')
    return all(each.isprintable() or each.isspace() for each in text) and '\ufffd' not in text[:-1]


def is_torchscript(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith('/constants.pkl') for name in archive.namelist())
    except Exception:  # zipfile raises many kinds for a damaged directory
        return False
