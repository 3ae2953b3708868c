// The log: every fact, newest first, as it grows; each with an address of its own and its exact JSON.
import { Button, Card, CardBody, CardTitle, PageSection, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import type { ReactNode } from 'react';
import { useParams, useSearchParams } from 'react-router';
import { useRecordQuery, useRecordsInfiniteQuery } from '../api/api';
import type { RecordPage, RecordRow } from '../api/api';
import { Answer, Heading, Nothing } from '../parts/Answer';
import { StateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink, useAsOf } from '../parts/address';
import { useNow } from '../parts/now';
import { eventName, seen } from '../text';
import { Select } from './CertificatesPage';

export const TYPES: [string, string][] = [
  ['', 'Every type'],
  ...[
    'certificate.planned',
    'certificate.issued',
    'certificate.abandoned',
    'certificate.revoked',
    'certificate.secret-added',
    'request.refused',
    'token.created',
    'token.revoked',
    'issuer.added',
    'issuer.activated',
    'crl.published',
    'authority.founded',
  ].map((name): [string, string] => [`quicklime.${name}.v1`, eventName(name)]),
  ['quicklime.crl.published.v2', 'CRL published, version 2'],
];
const SERIAL = /^[0-9a-f]{40}$/;

export function LogPage(): ReactNode {
  const { offset } = useParams();
  return offset === undefined ? <Tail /> : <Record offset={Number(offset)} />;
}

function Tail(): ReactNode {
  const { asOf } = useAsOf();
  const [search, setSearch] = useSearchParams();
  const type = search.get('type') ?? '';
  const subject = search.get('subject') ?? undefined;
  const asked = useRecordsInfiniteQuery({
    ...(type ? { type: [type] } : {}),
    ...(subject ? { subject } : {}),
    ...(asOf ? { as_of: asOf } : {}),
  });
  return (
    <>
      <Heading title="Log" />
      <PageSection>
        <Toolbar className="ql-toolbar">
          <ToolbarContent>
            <ToolbarItem>
              <Select
                label="Type"
                value={type}
                options={TYPES}
                onChange={(value) =>
                  setSearch((before) => {
                    const after = new URLSearchParams(before);
                    if (value) after.set('type', value);
                    else after.delete('type');
                    return after;
                  })
                }
              />
            </ToolbarItem>
          </ToolbarContent>
        </Toolbar>
        <Answer asked={asked}>
          {(data) => {
            const rows = data.pages.flatMap((page: RecordPage) => page.records);
            return (
              <>
                {rows.length ? <Rows rows={rows} /> : <Nothing title="No record fits" />}
                {asked.hasNextPage ? (
                  <p className="ql-end">
                    <Button variant="secondary" isLoading={asked.isFetchingNextPage} onClick={() => void asked.fetchNextPage()}>
                      Show earlier ones
                    </Button>
                  </p>
                ) : null}
              </>
            );
          }}
        </Answer>
      </PageSection>
    </>
  );
}

function Rows({ rows }: { rows: readonly RecordRow[] }): ReactNode {
  const now = useNow();
  return (
    <Table aria-label="Records" variant="compact" gridBreakPoint="grid-md">
      <Thead>
        <Tr>
          <Th modifier="wrap">Offset</Th>
          <Th modifier="wrap">What</Th>
          <Th modifier="wrap">When</Th>
          <Th modifier="wrap">About</Th>
          <Th modifier="wrap">By</Th>
        </Tr>
      </Thead>
      <Tbody>
        {rows.map((one) => (
          <Tr key={one.offset}>
            <Td dataLabel="Offset">
              <AppLink to={`/log/${one.offset}`}>{one.offset}</AppLink>
            </Td>
            <Td dataLabel="What">
              {eventName(one.type)} {one.refusal ? <StateLabel text={`does not stand: ${one.refusal}`} tone="orange" isCompact /> : null}
            </Td>
            <Td dataLabel="When">
              <Time value={one.time} now={now} />
            </Td>
            <Td dataLabel="About">
              <Subject record={one} />
            </Td>
            <Td dataLabel="By">{one.requester ? <Text value={`${one.requester.kind} ${one.requester.id}`} most={32} /> : '–'}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Subject({ record }: { record: RecordRow }): ReactNode {
  const short = <Text value={record.subject} most={24} />;
  return SERIAL.test(record.subject) && record.type.includes('.certificate.') && !record.type.includes('planned') ? (
    <AppLink to={`/certificates/${record.subject}`} className="ql-mono">
      {short}
    </AppLink>
  ) : (
    <span className="ql-mono">{short}</span>
  );
}

function Record({ offset }: { offset: number }): ReactNode {
  const asked = useRecordQuery(offset);
  const now = useNow();
  return (
    <>
      <Heading title={`Record ${offset}`}>
        <p>
          <AppLink to="/log">The log</AppLink>
          {offset > 0 ? (
            <>
              {' '}
              · <AppLink to={`/log/${offset - 1}`}>Earlier</AppLink>
            </>
          ) : null}{' '}
          · <AppLink to={`/log/${offset + 1}`}>Later</AppLink>
        </p>
      </Heading>
      <PageSection>
        <Answer asked={asked}>
          {(data) => (
            <Card>
              <CardTitle component="h2">{eventName(data.record.type)}</CardTitle>
              <CardBody>
                <p>
                  <Time value={data.record.time} now={now} as="local" />, about <Subject record={data.record} />
                  {data.record.refusal ? ` · does not stand: ${data.record.refusal}` : ''}
                </p>
                <pre className="ql-pem" tabIndex={0} aria-label="The record as JSON">
                  {pretty(data.value)}
                </pre>
              </CardBody>
            </Card>
          )}
        </Answer>
      </PageSection>
    </>
  );
}

/** JSON with line breaks; the text as it is where it is none. What can't be seen is spelled. */
export function pretty(value: string): string {
  try {
    return JSON.stringify(JSON.parse(value), null, 2)
      .split('\n')
      .map(seen)
      .join('\n');
  } catch {
    return seen(value);
  }
}
