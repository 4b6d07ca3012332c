'use strict';
const root = document.documentElement;

// theme: the system's, until the button is used; prints are light
const themeButton = document.getElementById('theme');
const systemDark = matchMedia('(prefers-color-scheme: dark)');
themeButton.hidden = false;
themeButton.addEventListener('click', () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : systemDark.matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  document.querySelectorAll('canvas.confusion').forEach(paint);
});
let before = null;
addEventListener('beforeprint', () => {
  before = {theme: root.dataset.theme, closed: [...document.querySelectorAll('details:not([open]):not(.screen)')]};
  root.dataset.theme = 'light';
  before.closed.forEach(details => { details.open = true; });
});
addEventListener('afterprint', () => {
  if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
  before.closed.forEach(details => { details.open = false; });
});

// tables that sort
const collator = new Intl.Collator(undefined, {numeric: true});
function sortKey(cell) {
  const text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
  const value = parseFloat(text.replace(/,/g, ''));
  return Number.isNaN(value) || !/^[-+]?[\d.,]/.test(text) ? text : value;
}
function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return collator.compare(String(a), String(b));
}
document.querySelectorAll('table.sortable').forEach(table => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const direction = head.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
    heads.forEach(each => each.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', direction);
    const sign = direction === 'ascending' ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map(row => [sortKey(row.cells[column]), row]);
    rows.sort((a, b) => sign * compare(a[0], b[0]));
    table.tBodies[0].append(...rows.map(each => each[1]));
  }));
});

// values of curves
const tip = document.getElementById('tip');
const shown = value => Number.isInteger(value) ? String(value) : value.toPrecision(4);
function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map(([text, colour]) => {
    const line = document.createElement('div');
    if (colour !== undefined) {
      const swatch = document.createElement('span');
      swatch.className = 'swatch s' + colour;
      line.append(swatch);
    }
    line.append(text);
    return line;
  }));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
  tip.style.top = Math.max(4, y + 14 + box.height > innerHeight ? y - box.height - 14 : y + 14) + 'px';
}
document.querySelectorAll('svg[data-series]').forEach(svg => {
  let series, epochs, at = -1;
  const cursor = svg.querySelector('.cursor');
  function load() {
    if (series) return;
    series = JSON.parse(svg.dataset.series);
    const whole = series.filter(each => each.kind !== 'step');
    epochs = [...new Set((whole.length ? whole : series).flatMap(each => each.values.map(value => value[0])))].sort((a, b) => a - b);
  }
  function show(epoch, x, y) {
    const lines = [['epoch ' + epoch]];
    let place = null;
    series.forEach(each => {
      const i = each.values.findIndex(value => value[0] === epoch);
      if (i < 0) return;
      lines.push([each.name + ': ' + shown(each.values[i][1]), each.colour]);
      place = each.points[i];
    });
    if (!place) return;
    cursor.setAttribute('d', `M${place[0]} 10V192`);
    cursor.removeAttribute('hidden');
    const box = svg.getBoundingClientRect();
    showTip(lines, x === undefined ? box.left + place[0] * box.width / 360 : x, y === undefined ? box.top + 20 : y);
  }
  function hide() { tip.hidden = true; cursor.setAttribute('hidden', ''); }
  svg.addEventListener('pointermove', event => {
    load();
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * 360 / box.width;
    let nearest = null;
    series.forEach(each => each.points.forEach((point, i) => {
      const far = Math.abs(point[0] - x);
      if (epochs.includes(each.values[i][0]) && (!nearest || far < nearest[0])) nearest = [far, each.values[i][0]];
    }));
    if (nearest) { at = epochs.indexOf(nearest[1]); show(nearest[1], event.clientX, event.clientY); }
  });
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('blur', hide);
  svg.addEventListener('keydown', event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step) return;
    event.preventDefault();
    load();
    at = Math.max(0, Math.min(epochs.length - 1, at + step));
    show(epochs[at]);
  });
});

// large confusion matrices
function paint(canvas) {
  const data = canvas.confusion = canvas.confusion || JSON.parse(canvas.dataset.matrix);
  const context = canvas.getContext('2d');
  const size = data.names.length;
  const image = context.createImageData(size, size);
  const colour = getComputedStyle(root).getPropertyValue('--blue').split(',').map(Number);
  data.shares.flat().forEach((share, i) => image.data.set([...colour, share ? 40 + 215 * share : 0], 4 * i));
  context.putImageData(image, 0, 0);
}
document.querySelectorAll('canvas.confusion').forEach(canvas => {
  paint(canvas);
  const reading = canvas.nextElementSibling;
  const size = canvas.width;
  let row = 0, column = 0;
  function read() {
    const {names, matrix} = canvas.confusion;
    reading.textContent = `true ${names[row]}, predicted ${names[column]}: ${matrix[row][column]} of ${matrix[row].reduce((a, b) => a + b, 0)} videos`;
  }
  canvas.addEventListener('pointermove', event => {
    const box = canvas.getBoundingClientRect();
    const place = (at, length) => Math.max(0, Math.min(size - 1, Math.floor(at / length * size)));
    row = place(event.clientY - box.top, box.height);
    column = place(event.clientX - box.left, box.width);
    read();
  });
  canvas.addEventListener('keydown', event => {
    const move = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (!move) return;
    event.preventDefault();
    row = Math.max(0, Math.min(size - 1, row + move[0]));
    column = Math.max(0, Math.min(size - 1, column + move[1]));
    read();
  });
});
systemDark.addEventListener('change', () => document.querySelectorAll('canvas.confusion').forEach(paint));
