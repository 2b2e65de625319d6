// Elements without markup: what comes from a database becomes text, never HTML.

/** An element: properties that begin with `on` are listeners, the others attributes; children are elements or text. */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name === 'value') made.value = value;
    else made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Show an error where the eye is, and let screen readers say it. */
export function errorBox(error) {
  const status = error.status ? `${error.status} ${error.code}: ` : '';
  return h('p', { class: 'error', role: 'alert' }, status + error.message, error.hint ? h('span', { class: 'hint' }, error.hint) : null);
}

let quieting;
/** Say what was done, for some seconds. */
export function say(text) {
  const place = document.getElementById('said');
  place.textContent = text;
  clearTimeout(quieting);
  quieting = setTimeout(() => { place.textContent = ''; }, 4000);
}

/** Open a dialog; `fill` gives its content and is given a function that closes it with a result. Resolves to that, or undefined. */
export function openDialog(title, fill) {
  return new Promise((resolve) => {
    let result;
    const heading = h('h2', { id: 'dialog-title' }, title);
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, heading);
    dialog.append(...[fill((value) => { result = value; dialog.close(); })].flat());
    dialog.addEventListener('close', () => { dialog.remove(); resolve(result); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask whether to go on. */
export function confirmed(title, text, word) {
  return openDialog(title, (close) => [
    h('p', {}, text),
    h('div', { class: 'ends' },
      h('button', { type: 'button', onclick: () => close(false) }, 'Cancel'),
      h('button', { type: 'button', class: 'danger', onclick: () => close(true) }, word)),
  ]);
}
