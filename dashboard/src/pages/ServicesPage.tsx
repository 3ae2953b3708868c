// Services: names with their nodes; and of one name the lineages, a lane per node.
import { Button, Card, CardBody, PageSection, SearchInput, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { useSearchParams } from 'react-router';
import { useLineagesQuery, useServicesInfiniteQuery } from '../api/api';
import type { Lane, Lineages, ServicePage, ServiceRow } from '../api/api';
import { Lanes } from '../lanes/Lanes';
import { Answer, Heading, Nothing } from '../parts/Answer';
import { StateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink, nowOf, useAsOf } from '../parts/address';
import { bare, withShortSerials } from '../text';

const FORGOTTEN_SECONDS = 30 * 86_400;

export function ServicesPage(): ReactNode {
  const [search] = useSearchParams();
  const name = search.get('name');
  return name ? <Service name={name} /> : <Services />;
}

function Services(): ReactNode {
  const { asOf } = useAsOf();
  const [search, setSearch] = useSearchParams();
  const q = search.get('q') ?? '';
  const asked = useServicesInfiniteQuery({ as_of: asOf, q });
  return (
    <>
      <Heading title="Services" />
      <PageSection>
        <Toolbar className="ql-toolbar">
          <ToolbarContent>
            <ToolbarItem className="ql-search">
              <SearchInput
                aria-label="Search services"
                placeholder="A part of the name"
                value={q}
                onChange={(_event, value) =>
                  setSearch(
                    (before) => {
                      const after = new URLSearchParams(before);
                      if (value) after.set('q', value);
                      else after.delete('q');
                      return after;
                    },
                    { replace: true },
                  )
                }
                onClear={() => setSearch(asOf ? { as_of: asOf } : {})}
              />
            </ToolbarItem>
          </ToolbarContent>
        </Toolbar>
        <Answer asked={asked}>
          {(data) => {
            const rows = data.pages.flatMap((page: ServicePage) => page.services);
            return (
              <>
                {rows.length ? <Rows rows={rows} now={nowOf(data.pages[0])} /> : <Nothing title="No service fits" />}
                {asked.hasNextPage ? (
                  <p className="ql-end">
                    <Button variant="secondary" isLoading={asked.isFetchingNextPage} onClick={() => void asked.fetchNextPage()}>
                      Show more
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

function Rows({ rows, now }: { rows: readonly ServiceRow[]; now: number }): ReactNode {
  return (
    <Table aria-label="Services" variant="compact" gridBreakPoint="grid-md">
      <Thead>
        <Tr>
          <Th modifier="wrap">Name</Th>
          <Th modifier="wrap">State of its nodes</Th>
          <Th modifier="wrap">Nodes</Th>
          <Th modifier="wrap">Next end</Th>
          <Th modifier="wrap">Certificates ever</Th>
        </Tr>
      </Thead>
      <Tbody>
        {rows.map((one) => (
          <Tr key={one.name}>
            <Td dataLabel="Name">
              <AppLink to="/services" query={{ name: one.name }}>
                <Text value={bare(one.name)} most={70} />
              </AppLink>
            </Td>
            <Td dataLabel="State of its nodes">
              <span className="ql-labels">
                {one.bad ? <StateLabel text={`${one.bad} late or ended`} tone="orange" isCompact /> : null}
                {one.due ? <StateLabel text={`${one.due} due`} tone="blue" isCompact /> : null}
                {one.good ? <StateLabel text={`${one.good} good`} tone="green" isCompact /> : null}
                {one.nodes > one.good + one.due + one.bad ? (
                  <StateLabel text={`${one.nodes - one.good - one.due - one.bad} revoked`} tone="red" isCompact />
                ) : null}
                {one.nodes === 0 ? <span className="ql-subtle">gone</span> : null}
              </span>
            </Td>
            <Td dataLabel="Nodes">{one.nodes}</Td>
            <Td dataLabel="Next end">{one.next_end ? <Time value={one.next_end} now={now} /> : '–'}</Td>
            <Td dataLabel="Certificates ever">{one.certificates.toLocaleString('en')}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Service({ name }: { name: string }): ReactNode {
  const { asOf } = useAsOf();
  const asked = useLineagesQuery({ as_of: asOf, name });
  return (
    <>
      <Heading title={<Text value={bare(name)} />}>
        <p>
          <AppLink to="/services">All services</AppLink> · <AppLink to="/certificates" query={{ name }}>Its certificates as a list</AppLink>
        </p>
      </Heading>
      <PageSection>
        <Answer asked={asked}>
          {(data) =>
            data.lanes.length ? (
              <ServiceLanes data={data} />
            ) : (
              <Nothing title="No certificate bears this name">
                {data.as_of.live ? 'Look at the spelling.' : 'At that moment; perhaps later.'}
              </Nothing>
            )
          }
        </Answer>
      </PageSection>
    </>
  );
}

function ServiceLanes({ data }: { data: Lineages }): ReactNode {
  const now = nowOf(data);
  const [isAll, setAll] = useState(false);
  const living = data.lanes.filter((lane) => {
    const newest = lane.links[lane.links.length - 1]?.certificate;
    return newest && Date.parse(newest.not_after) / 1000 > now - FORGOTTEN_SECONDS;
  });
  const gone = data.lanes.length - living.length;
  const shown = isAll || living.length === 0 ? data.lanes : living;
  return (
    <Card>
      <CardBody>
        <p className="ql-sum">
          <Text value={summary(data, now)} most={300} />
        </p>
        <Reasons lanes={shown} now={now} />
        <Lanes lanes={shown} now={now} label={bare(data.name)} />
        {gone > 0 && living.length > 0 ? (
          <p>
            <Button variant="link" isInline onClick={() => setAll(!isAll)}>
              {isAll ? 'Hide nodes that are gone' : `Show ${gone} more that are gone`}
            </Button>
          </p>
        ) : null}
        {data.is_whole ? null : <p className="ql-subtle">Only the newest certificates are shown.</p>}
      </CardBody>
    </Card>
  );
}

const REASONS_MAX = 6;

/** Why lanes are stuck, in the words of the last refusal. */
function Reasons({ lanes, now }: { lanes: readonly Lane[]; now: number }): ReactNode {
  const stuck = lanes.filter((lane) => lane.state === 'failing' || lane.state === 'contested').slice(0, REASONS_MAX);
  if (stuck.length === 0) return null;
  return (
    <ul className="ql-reasons">
      {stuck.map((lane) => {
        const refusals = lane.links.flatMap((link) => link.refusals);
        const last = refusals[refusals.length - 1];
        return last ? (
          <li key={lane.links[0]?.certificate.serial}>
            <strong>
              <Text value={lane.node ?? 'no node'} most={40} />
            </strong>{' '}
            refused {refusals.length === 1 ? 'once' : `${refusals.length} times`}, last <Time value={last.time} now={now} />:{' '}
            <Text value={withShortSerials(last.detail)} most={200} />
          </li>
        ) : null;
      })}
    </ul>
  );
}

/** Which nodes were replaced lately, and which were not, in one sentence. */
export function summary(data: Pick<Lineages, 'lanes'>, now: number): string {
  const words: Record<string, string> = {
    contested: 'contested',
    failing: 'failing',
    expired: 'without a certificate',
    revoked: 'revoked',
    late: 'late',
    due: 'due',
    good: 'good',
  };
  const counts = new Map<string, string[]>();
  for (const lane of data.lanes) {
    const newest = lane.links[lane.links.length - 1]?.certificate;
    if (!newest || (newest.status !== 'valid' && Date.parse(newest.not_after) / 1000 < now - FORGOTTEN_SECONDS)) continue;
    counts.set(lane.state, [...(counts.get(lane.state) ?? []), lane.node ?? 'no node']);
  }
  const order = Object.keys(words);
  const parts = [...counts]
    .sort(([one], [other]) => order.indexOf(one) - order.indexOf(other))
    .map(([state, nodes]) =>
    state === 'good' || nodes.length > 3
      ? `${nodes.length} ${words[state] ?? state}`
      : `${nodes.join(', ')} ${words[state] ?? state}`,
  );
  return parts.length ? `${parts.join('; ')}.` : 'No node has a certificate now.';
}
