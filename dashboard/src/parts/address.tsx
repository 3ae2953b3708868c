// Everything that is shown has an address. `as_of` goes along from page to page: whoever looks at the past stays there.
import { useCallback } from 'react';
import type { ReactNode } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useAppSelector } from '../store';

export function useAsOf(): { asOf: string | undefined; setAsOf: (value: string | undefined) => void } {
  const [search, setSearch] = useSearchParams();
  const setAsOf = useCallback(
    (value: string | undefined) => {
      setSearch((before) => {
        const after = new URLSearchParams(before);
        if (value === undefined) after.delete('as_of');
        else after.set('as_of', value);
        return after;
      });
    },
    [setSearch],
  );
  return { asOf: search.get('as_of') ?? undefined, setAsOf };
}

/** The address of a page, with the moment that is being looked at. */
export function useAddress(): (path: string, query?: Record<string, string | undefined>) => string {
  const { asOf } = useAsOf();
  return useCallback(
    (path, query = {}) => {
      const parameters = new URLSearchParams();
      for (const [key, value] of Object.entries({ ...query, as_of: asOf })) {
        if (value !== undefined && value !== '') parameters.set(key, value);
      }
      const text = parameters.toString();
      return text ? `${path}?${text}` : path;
    },
    [asOf],
  );
}

type Props = { to: string; query?: Record<string, string | undefined>; children: ReactNode; className?: string };

export function AppLink({ to, query, children, className }: Props): ReactNode {
  const address = useAddress();
  return (
    <Link to={address(to, query)} {...(className === undefined ? {} : { className })}>
      {children}
    </Link>
  );
}

/** The moment by which relative times count: that of the answer, so that a page of the past speaks as it did then. */
export function nowOf(answer: { as_of: { time: string } } | undefined): number {
  return answer === undefined ? Date.now() / 1000 : Date.parse(answer.as_of.time) / 1000;
}

export function useConnection(): string {
  return useAppSelector((state) => state.live.connection);
}
