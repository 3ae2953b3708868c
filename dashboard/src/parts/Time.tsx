// A moment: relative in the text, local and UTC on hover.
import type { ReactNode } from 'react';
import { localDay, localTime, relativeTo, utc } from '../time';

type Props = { value: string; now: number; as?: 'relative' | 'local' | 'day' };

export function Time({ value, now, as = 'relative' }: Props): ReactNode {
  const text = as === 'relative' ? relativeTo(value, now) : as === 'day' ? localDay(value) : localTime(value);
  return (
    <time dateTime={value} title={`${localTime(value)} local time\n${utc(value)}`} className="ql-time">
      {text}
    </time>
  );
}
