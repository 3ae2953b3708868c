// As of: the moment that everything is shown for. Empty is now.
import { Button, Popover, TextInput } from '@patternfly/react-core';
import HistoryIcon from '@patternfly/react-icons/dist/esm/icons/history-icon';
import { useState } from 'react';
import type { ReactNode, SubmitEvent } from 'react';
import { useAsOf } from './address';

const DAY = 86_400_000;
const STEPS: [string, number][] = [
  ['An hour ago', DAY / 24],
  ['Yesterday', DAY],
  ['A week ago', 7 * DAY],
  ['A month ago', 30 * DAY],
];

/** What the server takes as a moment: an offset as it stands, a local time in UTC; undefined where it is neither. */
export function asMoment(text: string): string | undefined {
  const bare = text.trim();
  if (/^\d{1,15}$/.test(bare)) return bare;
  const at = Date.parse(bare);
  return Number.isNaN(at) || bare === '' ? undefined : new Date(at).toISOString().replace(/\.\d+/, '');
}

export function MomentPicker(): ReactNode {
  const { asOf, setAsOf } = useAsOf();
  const [text, setText] = useState('');
  const moment = asMoment(text);
  return (
    <Popover
      aria-label="Look at another moment"
      headerContent="Look at another moment"
      bodyContent={(hide) => {
        function choose(value: string | undefined): void {
          setAsOf(value);
          hide();
        }
        function submit(event: SubmitEvent): void {
          event.preventDefault();
          if (moment !== undefined) choose(moment);
        }
        return (
          <form className="ql-moment" onSubmit={submit}>
            <div className="ql-labels">
              {STEPS.map(([name, ago]) => (
                <Button key={name} variant="link" isInline onClick={() => choose(new Date(Date.now() - ago).toISOString().replace(/\.\d+/, ''))}>
                  {name}
                </Button>
              ))}
            </div>
            <label htmlFor="moment">Local time, or a record&apos;s offset</label>
            <TextInput id="moment" value={text} placeholder="2026-01-31 12:00 or 1234" onChange={(_event, value) => setText(value)} />
            <div className="ql-labels">
              <Button type="submit" variant="primary" isDisabled={moment === undefined}>
                Show
              </Button>
              <Button variant="link" onClick={() => choose(undefined)}>
                Now
              </Button>
            </div>
          </form>
        );
      }}
    >
      <Button variant="plain" aria-label={asOf === undefined ? 'Look at another moment' : 'Another moment is shown'} icon={<HistoryIcon />} />
    </Popover>
  );
}
