// The inventory. What is looked for stands in the address, so that it can be kept and sent.
import { Button, FormSelect, FormSelectOption, PageSection, SearchInput, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { useSearchParams } from 'react-router';
import { queryString, useCertificatesInfiniteQuery, useFacetsQuery } from '../api/api';
import type { CertificatePage, CertificateRow, Facets, InventoryQuery } from '../api/api';
import { nodeName } from '../lanes/words';
import { Answer, Heading, Nothing } from '../parts/Answer';
import { CertificateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink, nowOf } from '../parts/address';
import { bare, shortSerial } from '../text';

export const STATUSES: [string, string][] = [
  ['all', 'Every status'],
  ['current', 'Valid, newest of its node'],
  ['valid', 'Valid'],
  ['expiring', 'Ending in 14 days'],
  ['overdue', 'Late for renewal'],
  ['replaced', 'Replaced'],
  ['expired', 'Expired'],
  ['revoked', 'Revoked'],
];
const SORTS: [string, string][] = [
  ['-issued', 'Newest first'],
  ['issued', 'Oldest first'],
  ['expires', 'Ending first'],
  ['-expires', 'Ending last'],
  ['name', 'By name'],
  ['-name', 'By name, backwards'],
];
const PARAMETERS = ['q', 'status', 'issuer', 'profile', 'key_type', 'requester', 'name', 'sort', 'as_of', 'expires_before', 'expires_after'] as const;
const SEARCH_MILLISECONDS = 300;
const SEARCH_MIN = 3;

/** What the address asks for. */
export function queryOf(search: URLSearchParams): Omit<InventoryQuery, 'after'> {
  const found: Record<string, string> = {};
  for (const key of PARAMETERS) {
    const value = search.get(key);
    if (value) found[key] = value;
  }
  return found;
}

export function CertificatesPage(): ReactNode {
  const [search, setSearch] = useSearchParams();
  const query = queryOf(search);
  const asked = useCertificatesInfiniteQuery(query);
  const { data: facets } = useFacetsQuery(undefined);

  function set(key: string, value: string): void {
    setSearch(
      (before) => {
        const after = new URLSearchParams(before);
        if (value) after.set(key, value);
        else after.delete(key);
        return after;
      },
      { replace: key === 'q' },
    );
  }

  const filtered = [...search.keys()].some((key) => key !== 'as_of' && key !== 'sort');
  return (
    <>
      <Heading title="Certificates" />
      <PageSection>
        <Filters search={search} set={set} facets={facets} />
        <Answer asked={asked}>
          {(data) => {
            const rows = data.pages.flatMap((page: CertificatePage) => page.certificates);
            const last = data.pages[data.pages.length - 1];
            return (
              <>
                {rows.length ? (
                  <Rows rows={rows} now={nowOf(last)} />
                ) : last?.is_whole === false ? null : (
                  <Nothing
                    title={filtered ? 'No certificate fits' : 'No certificate yet'}
                    action={
                      filtered ? (
                        <Button variant="link" onClick={() => setSearch({})}>
                          Clear every filter
                        </Button>
                      ) : undefined
                    }
                  >
                    {filtered ? 'Loosen a filter, or look at another moment.' : 'quicklime issue web.internal makes the first.'}
                  </Nothing>
                )}
                <p className="ql-end" aria-live="polite">
                  {asked.hasNextPage ? (
                    <Button variant="secondary" isLoading={asked.isFetchingNextPage} onClick={() => void asked.fetchNextPage()}>
                      {last?.is_whole === false ? 'Look further' : 'Show more'}
                    </Button>
                  ) : rows.length ? (
                    `${rows.length} certificate${rows.length === 1 ? '' : 's'}, all that fit`
                  ) : null}
                  {rows.length ? (
                    <span className="ql-exports">
                      Save what fits as <a href={`/v1/monitor/export.csv${queryString(query)}`}>CSV</a> or{' '}
                      <a href={`/v1/monitor/export.json${queryString(query)}`}>JSON</a>
                    </span>
                  ) : null}
                </p>
              </>
            );
          }}
        </Answer>
      </PageSection>
    </>
  );
}

type FiltersProps = { search: URLSearchParams; set: (key: string, value: string) => void; facets: Facets | undefined };

function Filters({ search, set, facets }: FiltersProps): ReactNode {
  const [text, setText] = useState(search.get('q') ?? '');
  const tooShort = text.trim() !== '' && text.trim().split(/\s+/).some((word) => word.length < SEARCH_MIN);
  useEffect(() => {
    if (tooShort || text.trim() === (search.get('q') ?? '')) return undefined;
    const timer = setTimeout(() => set('q', text.trim()), SEARCH_MILLISECONDS);
    return () => clearTimeout(timer);
    // the search itself is what is waited for
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [text]);
  const chosen: [string, string, { value: string; count: number }[]][] = [
    ['profile', 'Every profile', facets?.profile ?? []],
    ['key_type', 'Every key type', facets?.key_type ?? []],
    ['issuer', 'Every issuer', facets?.issuer ?? []],
  ];
  return (
    <Toolbar className="ql-toolbar">
      <ToolbarContent>
        <ToolbarItem className="ql-search">
          <SearchInput
            aria-label="Search certificates"
            placeholder="Name, node, serial, fingerprint, requester"
            value={text}
            onChange={(_event, value) => setText(value)}
            onClear={() => {
              setText('');
              set('q', '');
            }}
          />
          {tooShort ? <span className="ql-hint">at least {SEARCH_MIN} characters a word</span> : null}
        </ToolbarItem>
        <ToolbarItem>
          <Select label="Status" value={search.get('status') ?? 'all'} options={STATUSES} onChange={(value) => set('status', value === 'all' ? '' : value)} />
        </ToolbarItem>
        {chosen.map(([key, every, values]) => (
          <ToolbarItem key={key}>
            <Select
              label={every.replace('Every ', '')}
              value={search.get(key) ?? ''}
              options={[['', every], ...values.map((one): [string, string] => [one.value, `${key === 'issuer' ? one.value.slice(0, 8) : one.value} (${one.count})`])]}
              onChange={(value) => set(key, value)}
            />
          </ToolbarItem>
        ))}
        <ToolbarItem>
          <Select label="Order" value={search.get('sort') ?? '-issued'} options={SORTS} onChange={(value) => set('sort', value === '-issued' ? '' : value)} />
        </ToolbarItem>
      </ToolbarContent>
    </Toolbar>
  );
}

type SelectProps = { label: string; value: string; options: [string, string][]; onChange: (value: string) => void };

export function Select({ label, value, options, onChange }: SelectProps): ReactNode {
  return (
    <FormSelect aria-label={label} value={value} onChange={(_event, chosen) => onChange(chosen)} ouiaId={label}>
      {options.map(([key, text]) => (
        <FormSelectOption key={key} value={key} label={text} />
      ))}
    </FormSelect>
  );
}

function Rows({ rows, now }: { rows: readonly CertificateRow[]; now: number }): ReactNode {
  return (
    <Table aria-label="Certificates" variant="compact" gridBreakPoint="grid-lg">
      <Thead>
        <Tr>
          <Th modifier="wrap">Names</Th>
          <Th modifier="wrap">Node</Th>
          <Th modifier="wrap">Status</Th>
          <Th modifier="wrap">Ends</Th>
          <Th modifier="wrap">Issued</Th>
          <Th modifier="wrap">Profile</Th>
          <Th modifier="wrap">Serial</Th>
        </Tr>
      </Thead>
      <Tbody>
        {rows.map((one) => (
          <Tr key={one.serial}>
            <Td dataLabel="Names">
              <Names certificate={one} />
            </Td>
            <Td dataLabel="Node">
              <Text value={nodeName(one.node)} most={40} />
            </Td>
            <Td dataLabel="Status">
              <CertificateLabel certificate={one} />
            </Td>
            <Td dataLabel="Ends">
              <Time value={one.not_after} now={now} />
            </Td>
            <Td dataLabel="Issued">
              <Time value={one.issued_at} now={now} />
            </Td>
            <Td dataLabel="Profile">
              <Text value={one.profile} most={30} />
            </Td>
            <Td dataLabel="Serial">
              <AppLink to={`/certificates/${one.serial}`} className="ql-mono">
                {shortSerial(one.serial)}
              </AppLink>
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Names({ certificate }: { certificate: CertificateRow }): ReactNode {
  if (certificate.names.length === 0) return <span className="ql-subtle">no names</span>;
  const others = certificate.names.length - 1;
  return (
    <>
      <AppLink to="/services" query={{ name: certificate.service }}>
        <Text value={bare(certificate.service)} most={60} />
      </AppLink>
      {others > 0 ? (
        <span className="ql-subtle" title={certificate.names.slice(0, 50).map(bare).join('\n')}>
          {' '}
          and {others} more
        </span>
      ) : null}
    </>
  );
}
