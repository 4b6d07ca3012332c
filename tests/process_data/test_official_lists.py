"""Lists of Something-Something V2, Diving48, Jester and Kinetics-600/700 from annotations in the form they are published in."""
import json
import shlex
from pathlib import Path

import pytest

from dpc import main as pretraining
from eval import attentive
from eval import test as classifier
from eval.classify.test_classifier import warn_of_mirrored_views
from process_data import write_csv
from tests.films import film, write_film
from tests.tiny import CLIP, ROOT, next_lines, run
from utils.cli import UserError
from utils.data.classes import labels_of, read_class_list
from utils.data.demands import demands
from utils.data.lists import VideoList, list_folder
from utils.default_settings import default_settings
from utils.run.setup import say_demands

# Class: id, in labels.json neither sorted nor of one type; templates have brackets, and some names commas and quotes.
SSV2 = {'Trying but failing to attach something to something because it doesn\'t stick': '1',
        'Pushing something from left to right': 0, 'Putting something, something and something on the table': '2',
        'Moving part of something': '3', 'Pretending to "throw" something': '4'}
TEMPLATES = ['Pushing [something] from left to right',
             'Trying but failing to attach [something] to [something] because it doesn\'t stick',
             'Putting [something], [something] and [something] on the table', 'Moving [part] of [something]',
             'Pretending to "throw" [something]']
SSV2_NAMES = sorted(SSV2, key=lambda name: int(SSV2[name]))
DIVES = [['Back', '15som', '05Twis', 'FREE'], ['Forward', 'Dive', 'NoTwis', 'PIKE'], ['Inward', '25som', '', 'TUCK']]
JESTER = ['Swiping Left', 'Swiping Right', 'Doing other things']


def dump(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding='utf-8')
    return str(path)


def ssv2_entries(*pairs):
    """[(id, number of the template), …]"""
    return [{'id': name, 'label': 'pushing a "cup", slowly', 'template': TEMPLATES[k], 'placeholders': ['cup']}
            for name, k in pairs]


def dive(name, label):
    return {'vid_name': name, 'label': label, 'start_frame': 0, 'end_frame': 48}


@pytest.fixture
def write(tmp_path):
    """Writes lists of three-frame videos {path of the frame folder}, whose frames are empty files."""
    def write_lists(dataset, folders, *flags):
        for folder in folders:
            (tmp_path / 'frames' / folder).mkdir(parents=True, exist_ok=True)
            for i in (1, 2, 3):
                (tmp_path / 'frames' / folder / f'image_{i:05d}.jpg').touch()
        write_csv.main(write_csv.parse_args(['--dataset', dataset, '--frame_root', str(tmp_path / 'frames'), '--csv_root',
                                             str(tmp_path / 'lists'), '--relative', *map(str, flags)]))
    return write_lists


@pytest.fixture
def ssv2(tmp_path):
    """Flags of the annotations of six videos, of which 11 isn't there, and their frame folders."""
    return ['--annotations', dump(tmp_path / 'train.json', ssv2_entries(('7', 0), ('123456', 2), ('11', 1), (9, 3))),
            dump(tmp_path / 'validation.json', ssv2_entries(('8', 4), ('10', 1))),
            '--labels', dump(tmp_path / 'labels.json', SSV2)], ['part/7', '123456', '9', '8', 'other/10', '99']


@pytest.fixture
def diving48(tmp_path):
    return ['--annotations', dump(tmp_path / 'Diving48_V2_train.json', [dive('-mmq0PT-u8k_00155', 0), dive('a_b_00001', 2)]),
            dump(tmp_path / 'Diving48_V2_test.json', [dive('-mmq0PT-u8k_00156', 1)]),
            '--labels', dump(tmp_path / 'Diving48_vocab.json', DIVES)], [
                'rgb/-mmq0PT-u8k_00155', 'rgb/a_b_00001', 'rgb/-mmq0PT-u8k_00156']


@pytest.fixture
def jester(tmp_path):
    return ['--annotations', dump(tmp_path / 'jester-v1-train.csv', '1;Swiping Left\r\n22;Doing other things\r\n'),
            dump(tmp_path / 'jester-v1-validation.csv', '3;Swiping Right\n'),
            '--labels', dump(tmp_path / 'jester-v1-labels.csv', '\n'.join(JESTER))], ['1', '22', '3']


def listed(tmp_path, name, subset):
    """([(path, label), …], labels by number) of a list that training would read."""
    folder = tmp_path / 'lists' / name
    videos = VideoList.read_csv(str(folder / f'{subset}_split.csv'), '')
    return (list(zip(videos.paths(), [label for label, in videos.classes()])),
            labels_of(videos, read_class_list(folder)).tolist())


def test_ssv2(tmp_path, write, ssv2, capsys):
    write('ssv2', ssv2[1], *ssv2[0])
    said = capsys.readouterr()
    assert f'{tmp_path}/lists/ssv2/train_split.csv: 3 videos, 1 missing (168913 published)\n  missing: 11\n' in said.out
    assert 'val_split.csv: 2 videos, 0 missing (24777 published)' in said.out and '5 classes, not 174' in said.err
    assert read_class_list(tmp_path / 'lists/ssv2') == SSV2_NAMES
    assert listed(tmp_path, 'ssv2', 'train') == ([('part/7', SSV2_NAMES[0]), ('123456', SSV2_NAMES[2]),
                                                  ('9', SSV2_NAMES[3])], [0, 2, 3])
    assert listed(tmp_path, 'ssv2', 'val') == ([('8', SSV2_NAMES[4]), ('other/10', SSV2_NAMES[1])], [4, 1])


def test_diving48(tmp_path, write, diving48, capsys):
    """Clips of one source video are a group; the empty word of a class is left out; the first version is warned of."""
    write('diving48', diving48[1], *diving48[0])
    assert '(15027 published)' in capsys.readouterr().out
    assert listed(tmp_path, 'diving48', 'train') == ([('rgb/-mmq0PT-u8k_00155', 'Back 15som 05Twis FREE'),
                                                      ('rgb/a_b_00001', 'Inward 25som TUCK')], [0, 2])
    assert (tmp_path / 'lists/diving48/test_split.csv').read_text() == (
        'rgb/-mmq0PT-u8k_00156,3,Forward Dive NoTwis PIKE,-mmq0PT-u8k\n')
    first = [dump(tmp_path / 'Diving48_train.json', [dive('a_b_00001', 0)]), *diving48[0][2:]]
    write('diving48', [], '--annotations', *first)
    assert 'Diving48_train.json: its name does not say V2' in capsys.readouterr().err


def test_jester(tmp_path, write, jester, capsys):
    write('jester', jester[1], *jester[0])
    assert 'val_split.csv: 1 videos, 0 missing (14787 published)' in capsys.readouterr().out
    assert listed(tmp_path, 'jester', 'train') == ([('1', JESTER[0]), ('22', JESTER[2])], [0, 2])
    assert listed(tmp_path, 'jester', 'val') == ([('3', JESTER[1])], [1])


@pytest.mark.parametrize('dataset, counts', [('k600', (392622, 30001)), ('k700', (545317, 35000))])
def test_later_kinetics(tmp_path, write, dataset, counts, capsys):
    header = 'label,youtube_id,time_start,time_end,split\n'
    flags = ['--annotations', dump(tmp_path / 'train.csv', header + '"yoga, hot",aaaaaaaaaaa,3,13,train\n'),
             dump(tmp_path / 'val.csv', header + '"yoga, hot",bbbbbbbbbbb,3,13,validate\n')]
    write(dataset, ['yoga, hot/aaaaaaaaaaa_000003_000013', 'yoga, hot/bbbbbbbbbbb'], *flags)
    said = capsys.readouterr().out
    assert all(f'0 missing ({count} published)' in said for count in counts) and f'lists/{dataset}_150/' in said
    args = pretraining.parse_args(['--dataset', dataset, '--csv_root', str(tmp_path / 'lists')])
    assert (args.ds, args.flip) == (5, 0.5)
    assert list_folder(str(tmp_path / 'lists'), dataset, 128) == str(tmp_path / f'lists/{dataset}_150')


# ---- what the data demands

def test_training_obeys_the_data_set(tmp_path, write, ssv2, capsys):
    write('ssv2', ssv2[1], *ssv2[0])
    capsys.readouterr()
    content = json.loads((tmp_path / 'lists/ssv2/dataset.json').read_text())
    assert content == {'source': str(tmp_path / 'frames'), 'labels': 'Something-Something V2', 'flip': 0, 'ds': 1}
    data = ['--dataset', 'ssv2', '--csv_root', str(tmp_path / 'lists')]
    args = pretraining.parse_args(data)
    assert (args.flip, args.ds) == (0, 1)
    say_demands(args)
    assert capsys.readouterr() == ('dataset.json of ssv2: --flip 0 (its classes tell left from right) and --ds 1 (suits '
                                   'its frame rate)\n', '')
    say_demands(pretraining.parse_args([*data, '--flip', '0.5', '--ds', '3']))
    assert capsys.readouterr() == ('', 'warning: dataset.json of ssv2: --flip 0.5 for --flip 0 (its classes tell left '
                                   'from right) and --ds 3 for --ds 1 (suits its frame rate)\n')
    assert classifier.parse_args(data).flip == 0 and classifier.parse_args([*data, '--flip', '1']).flip == 1
    assert attentive.parse_args([*data, '--weights', 'random', '--out', 'o']).flip == 0
    assert default_settings('ssv2', str(tmp_path / 'lists'))['ds'] == 1
    assert pretraining.parse_args(['--dataset', str(tmp_path / 'lists/ssv2')]).ds == 1


@pytest.mark.parametrize('flags, warned', [([], False), (['--crops', '5'], False), (['--crops', '10'], True),
                                           (['--flip_views'], True)])
def test_mirrored_views_of_left_and_right_are_warned_of(tmp_path, capsys, flags, warned):
    (tmp_path / 'mine').mkdir()
    for flip in (0, 0.5):
        dump(tmp_path / 'mine/dataset.json', {'source': '/v', 'flip': flip})
        warn_of_mirrored_views(classifier.parse_args(['--dataset', 'mine', '--csv_root', str(tmp_path), *flags]))
        assert ('its classes tell left from right' in capsys.readouterr().err) == (warned and flip == 0)


@pytest.mark.parametrize('content, demanded, warned', [
    (None, {}, ''), ('{"source', {}, ''), ('["source"]', {}, ''), ('{"flip": 0}', {}, ''),  # of another program
    ('{"source": "/v", "flip": "no", "ds": 2}', {'ds': 2}, "flip 'no'"), ('{"source": "/v", "ds": 0}', {}, 'ds 0'),
    ('{"source": "/v", "ds": true, "flip": 2}', {}, 'ds True')])
def test_other_content_demands_nothing(tmp_path, capsys, content, demanded, warned):
    (tmp_path / 'mine').mkdir()
    if content:
        dump(tmp_path / 'mine/dataset.json', content)
    assert demands(str(tmp_path), 'mine') == demanded
    assert warned in capsys.readouterr().err
    args = pretraining.parse_args(['--dataset', 'mine', '--csv_root', str(tmp_path)])
    assert (args.flip, args.ds) == (0.5, demanded.get('ds', 3)) and demands(str(tmp_path), 'none') == {}


# ---- bad input

BAD = {
    'json of another data set': ('ssv2', 0, [dive('a_00001', 0)], "train.json, entry 1: lacks 'id'"),
    'unlabelled test list': ('ssv2', 1, [{'id': '5'}], "validation.json, entry 1: lacks 'template'"),
    'class list for a list': ('ssv2', 0, SSV2, 'train.json: not a list of videos'),
    'no entry': ('ssv2', 0, [], 'train.json: not a list of videos'),
    'no objects': ('ssv2', 0, ['7'], 'train.json, entry 1: not an object'),
    'vocabulary for labels.json': ('ssv2', 2, DIVES, 'labels.json: not the labels.json of Something-Something'),
    'an id twice': ('ssv2', 2, {**SSV2, 'More': '01'}, 'labels.json: not the labels.json of Something-Something'),
    'other version': ('ssv2', 2, {'Pushing something from left to right': '0'}, 'labels.json lacks the class'),
    'cut short': ('ssv2', 0, '[{"id": "7", "templ', 'train.json: not a json file, or cut short'),
    'picture': ('ssv2', 0, '\ufffd\x00' * 9, 'train.json: not a json file'),
    'too deep': ('ssv2', 0, '[' * 200_000, 'train.json: not a json file'),
    'semicolon in a class': ('ssv2', 2, {**SSV2, 'a;b': 5}, "'a;b' is no name of a class"),
    'no Unicode': ('ssv2', 2, '{"\\ud800": "0"}', 'not in UTF-8'),
    'blank class': ('diving48', 2, [[' ']], "' ' is no label"),
    'two spellings': ('ssv2', 2, {**SSV2, 'Moving_part of something': 5}, 'is the same class as'),
    'no videos': ('ssv2', 1, ssv2_entries(('5', 0)), 'none of the 1 videos of val_split is there, such as 5; extract'),
    'labels.json for the vocabulary': ('diving48', 2, SSV2, 'Diving48_vocab.json: not the vocabulary of Diving48'),
    'label without a class': ('diving48', 0, [dive('a_b_00001', 3)], 'entry 1: label 3, but .*has 3 classes'),
    'wrong type': ('diving48', 0, [dive('a_b_00001', 'Back')], "entry 1: lacks 'label'"),
    'wrong separator': ('jester', 0, '1,Swiping Left\n', r"train.csv:1: expected `id;class`, got '1,Swiping Left'"),
    'unlabelled csv': ('jester', 1, '1;Swiping Left\n2\n', 'validation.csv:2: expected `id;class`'),
    'unknown class': ('jester', 0, '1;Waving\n', "train.csv:1: .*labels.csv lacks the class 'Waving'"),
    'labels of a list': ('jester', 2, '1;Swiping Left\n', "'1;Swiping Left' is no name of a class"),
    'class twice': ('jester', 2, 'Swiping Left\nSwiping Left\n', 'names a class twice'),
    'empty': ('jester', 0, '\n', 'train.csv: empty'),
}


@pytest.mark.parametrize('dataset, which, content, message', BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, write, request, dataset, which, content, message):
    flags, folders = request.getfixturevalue(dataset)
    files = [flags[1], flags[2], flags[4]]
    with open(files[which], 'w', encoding='utf-8') as file:
        file.write(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        write(dataset, folders, *flags)
    assert '\n' not in str(error.value) and not (tmp_path / 'lists').exists()


@pytest.mark.parametrize('files, message', [
    (['train.json'], 'a training and a validation or test list are needed'),
    (['validation.json'], 'a training and a validation or test list are needed'),
    (['train.json', 'part2.json'], 'part2.json: its name must say which list it is'),
    (['trainval.json', 'validation.json'], 'trainval.json: its name must say which list it is'),
    (['train.json', 'absent/validation.json'], 'absent/validation.json: cannot be read')])
def test_names_of_annotation_files(tmp_path, write, ssv2, files, message):
    for name in ('part2.json', 'trainval.json'):
        dump(tmp_path / name, ssv2_entries(('7', 0)))
    with pytest.raises(UserError, match=message):
        write('ssv2', ssv2[1], '--annotations', *[tmp_path / name for name in files], *ssv2[0][3:])


def test_two_videos_of_a_name(tmp_path, write, ssv2, capsys):
    write('ssv2', [*ssv2[1], 'copy/7'], *ssv2[0])
    assert 'part/7: copy/7 has the same name (1 such videos): left out' in capsys.readouterr().err
    assert listed(tmp_path, 'ssv2', 'train')[0][0] == ('copy/7', SSV2_NAMES[0])


# ---- from the annotations to a classifier

def test_the_three_commands_of_the_readme(tmp_path, monkeypatch, capsys):
    """In miniature: .webm files and the published json files, then the commands as they stand there."""
    section = (ROOT / 'process_data' / 'README.md').read_text().split('## Something-Something V2')[1].split('\n## ')[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith('    python ')]
    to_lists, pretrain, finetune = (shlex.split(next(line for line in lines if begin in line))[1:] for begin in (
        'write_csv.py --dataset ssv2 --videos', 'dpc/main.py', 'eval/test.py'))
    monkeypatch.chdir(tmp_path)
    for number in range(16):
        write_film(tmp_path / '20bn-something-something-v2' / f'{number}.webm', film(16, 40, 36, seed=number), 'libvpx-vp9',
                   options={'cpu-used': '8', 'deadline': 'realtime'})
    dump(tmp_path / 'labels.json', SSV2)
    dump(tmp_path / 'train.json', ssv2_entries(*((str(number), number % 2) for number in range(12))))
    dump(tmp_path / 'validation.json', ssv2_entries(*((str(number), number % 2) for number in range(12, 16))))

    csv_root = ['--csv_root', str(tmp_path / 'lists')]
    write_csv.main(write_csv.parse_args([*to_lists[1:], *csv_root]))
    small = [*csv_root, *CLIP, '--epochs', '1', '--batch_size', '4', '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off',
             '--log_dir', str(tmp_path)]
    assert run(pretraining, [*pretrain[1:], *small, '--pred_step', '1']) == 0
    said = capsys.readouterr().out
    assert 'flip 0' in said
    line = next(line for line in next_lines(said) if '--pretrain' in line)
    weights = line[line.index('--pretrain') + 1]
    assert run(classifier, [{'{model.pth.tar}': weights}.get(word, word) for word in finetune[1:]] + small) == 0
    said = capsys.readouterr().out
    line = next(line for line in next_lines(said) if '--test' in line)
    assert run(classifier, line[2:]) == 0
    log, = Path(tmp_path).glob('log_test/*/test_log.md')
    assert '| every video | 4 |' in log.read_text()
