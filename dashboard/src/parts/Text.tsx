// Text that somebody else wrote, harmless: isolated in its direction, what can't be seen spelled out, long texts cut.
import type { ReactNode } from 'react';
import { seen, shortened } from '../text';

export function Text({ value, most = 120 }: { value: string; most?: number }): ReactNode {
  const whole = seen(value);
  const short = shortened(whole, most);
  return (
    <bdi className="ql-text" dir="ltr" {...(short === whole ? {} : { title: shortened(whole, 1000) })}>
      {short}
    </bdi>
  );
}
