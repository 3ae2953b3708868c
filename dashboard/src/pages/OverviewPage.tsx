// What needs a person first; then how much there is, and what happened.
import { Card, CardBody, CardTitle, PageSection, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { useIssuersQuery, useOverviewQuery } from '../api/api';
import type { Attention, Counts } from '../api/api';
import { nodeName } from '../lanes/words';
import { Answer, Heading, Nothing } from '../parts/Answer';
import { Bars } from '../parts/Bars';
import { StateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink, nowOf, useAsOf } from '../parts/address';
import { bare, shortSerial, withShortSerials } from '../text';
import { IssuerHealth } from './IssuersPage';
import type { Tone } from '../lanes/words';

const KINDS: Record<Attention['kind'], { text: string; tone: Tone; says: string }> = {
  contested: { text: 'Contested', tone: 'red', says: 'two tried to renew the same certificate: a copied key does so' },
  failing: { text: 'Failing', tone: 'red', says: 'its renewals are refused' },
  expired: { text: 'Expired', tone: 'grey', says: 'it ended, and nothing replaced it' },
  overdue: { text: 'Late', tone: 'orange', says: 'it should have been renewed by now' },
};
const ORDER: Attention['kind'][] = ['contested', 'failing', 'expired', 'overdue'];
const SHOWN = 10;

export function OverviewPage(): ReactNode {
  const { asOf } = useAsOf();
  const [period, setPeriod] = useState('day');
  const overview = useOverviewQuery({ as_of: asOf, period });
  const issuers = useIssuersQuery(undefined);
  return (
    <>
      <Heading title="Overview" />
      <Answer asked={overview}>
        {(data) => (
          <>
            <PageSection>
              <NeedsAPerson attention={data.attention} counts={data.counts} now={nowOf(data)} />
            </PageSection>
            <PageSection>
              <Figures counts={data.counts} />
            </PageSection>
            <PageSection>
              <Card>
                <CardTitle component="h2">
                  <span className="ql-card-title">
                    Activity
                    <ToggleGroup isCompact aria-label="Period">
                      {['hour', 'day', 'week'].map((one) => (
                        <ToggleGroupItem key={one} text={`By ${one}`} isSelected={period === one} onChange={() => setPeriod(one)} />
                      ))}
                    </ToggleGroup>
                  </span>
                </CardTitle>
                <CardBody>
                  <Bars points={data.series} periodSeconds={data.series_seconds} />
                </CardBody>
              </Card>
            </PageSection>
            <PageSection>
              <Card>
                <CardTitle component="h2">Issuers</CardTitle>
                <CardBody>
                  <Answer asked={issuers}>{(list) => <IssuerHealth issuers={list.issuers} now={nowOf(data)} />}</Answer>
                </CardBody>
              </Card>
            </PageSection>
          </>
        )}
      </Answer>
    </>
  );
}

function NeedsAPerson({ attention, counts, now }: { attention: readonly Attention[]; counts: Counts; now: number }): ReactNode {
  const [isAll, setAll] = useState(false);
  const sorted = [...attention].sort((one, other) => ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind));
  const shown = isAll ? sorted : sorted.slice(0, SHOWN);
  return (
    <Card>
      <CardTitle component="h2">Needs a person {attention.length ? `(${attention.length})` : ''}</CardTitle>
      <CardBody>
        {attention.length === 0 ? (
          <Nothing title="Nothing does">Every renewal is on time, and nothing was refused that should not be.</Nothing>
        ) : (
          <Table aria-label="What needs a person" variant="compact" gridBreakPoint="grid-md">
            <Thead>
              <Tr>
                <Th modifier="wrap">What</Th>
                <Th modifier="wrap">Service</Th>
                <Th modifier="wrap">Node</Th>
                <Th modifier="wrap">Ends</Th>
                <Th width={40} modifier="wrap">Why</Th>
              </Tr>
            </Thead>
            <Tbody>
              {shown.map((one) => (
                <Tr key={one.certificate.serial}>
                  <Td dataLabel="What">
                    <StateLabel {...KINDS[one.kind]} isCompact />
                  </Td>
                  <Td dataLabel="Service">
                    <AppLink to="/services" query={{ name: one.certificate.service }}>
                      <Text value={bare(one.certificate.service)} most={60} />
                    </AppLink>
                  </Td>
                  <Td dataLabel="Node">
                    <AppLink to={`/certificates/${one.certificate.serial}`}>
                      <Text value={one.certificate.node ? nodeName(one.certificate.node) : shortSerial(one.certificate.serial)} most={40} />
                    </AppLink>
                  </Td>
                  <Td dataLabel="Ends">
                    <Time value={one.certificate.not_after} now={now} />
                  </Td>
                  <Td dataLabel="Why">
                    <Why one={one} now={now} />
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        )}
        {sorted.length > SHOWN && !isAll ? (
          <button type="button" className="ql-more" onClick={() => setAll(true)}>
            Show all {sorted.length}
          </button>
        ) : null}
        {counts.overdue > attention.length ? (
          <p>
            <AppLink to="/certificates" query={{ status: 'overdue', sort: 'expires' }}>
              All late certificates
            </AppLink>
          </p>
        ) : null}
      </CardBody>
    </Card>
  );
}

function Why({ one, now }: { one: Attention; now: number }): ReactNode {
  if (one.refusal) {
    return (
      <>
        {one.kind === 'contested' ? 'Renewed by somebody, then asked for again: ' : ''}
        <Text value={withShortSerials(one.refusal.detail)} most={110} />{' '}
        <span className="ql-subtle">
          (<Time value={one.refusal.time} now={now} />)
        </span>
      </>
    );
  }
  return (
    <>
      expected <Time value={one.certificate.due_at} now={now} />, and nobody asked
    </>
  );
}

function Figures({ counts }: { counts: Counts }): ReactNode {
  const many = (count: number): string => (count >= counts.counted_max ? `${counts.counted_max}+` : String(count));
  const figures: [string, string, Record<string, string>][] = [
    ['Valid', counts.valid.toLocaleString('en'), { status: 'valid' }],
    ['Ending in 14 days', many(counts.expiring), { status: 'expiring', sort: 'expires' }],
    ['Late', many(counts.overdue), { status: 'overdue', sort: 'expires' }],
    ['Revoked', counts.revoked.toLocaleString('en'), { status: 'revoked' }],
    ['Ever issued', counts.certificates.toLocaleString('en'), {}],
  ];
  return (
    <div className="ql-figures">
      {figures.map(([name, figure, query]) => (
        <AppLink key={name} to="/certificates" query={query} className="ql-figure">
          <span className="ql-figure__number">{figure}</span>
          <span>{name}</span>
        </AppLink>
      ))}
      <AppLink to="/log" query={{ type: 'quicklime.request.refused.v1' }} className="ql-figure">
        <span className="ql-figure__number">{counts.refused_last_day.toLocaleString('en')}</span>
        <span>Refused in a day</span>
      </AppLink>
    </div>
  );
}
