// Times as people read them: local, relative, and in UTC on hover.

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'long' });
const local = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' });

export function seconds(time: string): number {
  return Date.parse(time) / 1000;
}

/** `in 3 days`, `2 hours ago`. */
export function relativeTo(time: string, now: number): string {
  const difference = seconds(time) - now;
  for (const [unit, length] of UNITS) {
    if (Math.abs(difference) >= length || unit === 'second') {
      return relative.format(Math.trunc(difference / length), unit);
    }
  }
  return '';
}

export function localTime(time: string): string {
  return local.format(Date.parse(time));
}

export function localDay(time: string): string {
  return day.format(Date.parse(time));
}

export function utc(time: string): string {
  return time.replace('T', ' ').replace('Z', ' UTC');
}

/** `30 days`, `6 hours`: a length in its largest whole unit. */
export function length(of: number): string {
  for (const [unit, size] of UNITS) {
    if (of >= size && unit !== 'year' && unit !== 'month') {
      const count = Math.round(of / size);
      return `${count} ${unit}${count === 1 ? '' : 's'}`;
    }
  }
  return '0 seconds';
}
