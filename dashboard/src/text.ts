// Text that others wrote (names, nodes, details) as it may be shown: nothing in it moves, hides or imitates anything.

/** Controls, format characters (directions, joiners, invisible ones), separators, private use, lone surrogates. */
// eslint-disable-next-line no-control-regex, no-misleading-character-class -- they are the point
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|[\u{e0000}-\u{e0fff}]/gu;

/** What can't be seen is spelled: `\u{202e}`. */
export function seen(text: string): string {
  return text.replace(UNSEEN, (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`);
}

/** At most `most` characters, with an ellipsis where some are left out. */
export function shortened(text: string, most: number): string {
  const characters = Array.from(text.slice(0, most * 2 + 2));
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join('')}…`;
}

/** `web.internal` of `dns:web.internal`. */
export function bare(name: string): string {
  return name.replace(/^(dns|ip|uri|email):/, '');
}

export function shortSerial(serial: string): string {
  return serial.slice(0, 8);
}

/** Serials in a sentence, as short as elsewhere. */
export function withShortSerials(text: string): string {
  return text.replace(/\b[0-9a-f]{40}\b/g, (serial) => `${shortSerial(serial)}…`);
}

/** `certificate issued` of `quicklime.certificate.issued.v1`. */
export function eventName(type: string): string {
  return type
    .replace(/^quicklime\./, '')
    .replace(/\.v\d+$/, '')
    .replace(/[.-]/g, ' ')
    .replace(/^crl\b/, 'CRL');
}
