'use strict';

// prints show what is folded up, but not the lists that are for the screen
let closed = [];
addEventListener('beforeprint', () => {
  closed = [...document.querySelectorAll('details:not([open]):not(.screen)')];
  closed.forEach(details => { details.open = true; });
});
addEventListener('afterprint', () => closed.forEach(details => { details.open = false; }));

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
