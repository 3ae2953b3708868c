import { describe, expect, it } from 'vitest';
import { bare, eventName, seen, shortened, withShortSerials } from './text';

describe('text that somebody else wrote', () => {
  it('spells what can not be seen', () => {
    expect(seen('a\u202eb')).toBe('a\\u{202e}b');
    expect(seen('\u0000\t\n\u200b\u2066\ufeff')).toBe('\\u{0}\\u{9}\\u{a}\\u{200b}\\u{2066}\\u{feff}');
    expect(seen('\ud800x')).toBe('\\u{d800}x');
    expect(seen('\u{e0041}')).toBe('\\u{e0041}');
  });

  it('leaves every other letter as it is', () => {
    for (const text of ['web.internal', 'größe', 'ада', 'שלום', '名前', '😀', '<script>alert(1)</script>']) {
      expect(seen(text)).toBe(text);
    }
  });

  it('is cut at whole characters', () => {
    expect(shortened('abcdef', 6)).toBe('abcdef');
    expect(shortened('abcdefg', 6)).toBe('abcde…');
    expect(Array.from(shortened('😀'.repeat(1000), 5))).toHaveLength(5);
    expect(shortened('a'.repeat(10_000), 100)).toHaveLength(100);
  });

  it('is short where it names a serial', () => {
    expect(withShortSerials(`certificate ${'ab'.repeat(20)} was renewed`)).toBe('certificate abababab… was renewed');
  });

  it('names events and names', () => {
    expect(eventName('quicklime.certificate.secret-added.v1')).toBe('certificate secret added');
    expect([bare('dns:web.internal'), bare('ip:::1'), bare('web')]).toEqual(['web.internal', '::1', 'web']);
  });
});
