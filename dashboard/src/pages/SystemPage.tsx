// How the authority itself does: log, views, roles, version.
import { Alert, Card, CardBody, CardTitle, DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import type { ReactNode } from 'react';
import { useSystemQuery } from '../api/api';
import type { System } from '../api/api';
import { Answer, Heading } from '../parts/Answer';
import { StateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink } from '../parts/address';

const LOOK_MILLISECONDS = 5000;

export function SystemPage(): ReactNode {
  const asked = useSystemQuery(undefined, { pollingInterval: LOOK_MILLISECONDS });
  return (
    <>
      <Heading title="System" />
      <PageSection>
        <Answer asked={asked}>{(data) => <Parts data={data} />}</Answer>
      </PageSection>
    </>
  );
}

function Parts({ data }: { data: System }): ReactNode {
  const now = Date.parse(data.now) / 1000;
  const facts: [string, ReactNode][] = [
    ['Name', <Text key="name" value={data.name} />],
    ['Authority', <span key="id" className="ql-mono ql-break">{data.authority}</span>],
    ['Version', data.version],
    ['Started', <Time key="started" value={data.started_at} now={now} />],
    ['Records in the log', <AppLink key="head" to="/log">{data.log_head.toLocaleString('en')}</AppLink>],
    ['Roles in this process', data.roles.join(', ')],
  ];
  return (
    <>
      {data.is_ready ? null : (
        <Alert variant="danger" isInline title="Not ready">
          {data.reasons.map((reason) => (
            <div key={reason}>
              <Text value={reason} most={300} />
            </div>
          ))}
        </Alert>
      )}
      <div className="ql-columns">
        <Card>
          <CardTitle component="h2">Authority</CardTitle>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              {facts.map(([term, fact]) => (
                <DescriptionListGroup key={term}>
                  <DescriptionListTerm>{term}</DescriptionListTerm>
                  <DescriptionListDescription>{fact}</DescriptionListDescription>
                </DescriptionListGroup>
              ))}
            </DescriptionList>
          </CardBody>
        </Card>
        <Card>
          <CardTitle component="h2">Views</CardTitle>
          <CardBody>
            <Table aria-label="Views" variant="compact" gridBreakPoint="grid-md">
              <Thead>
                <Tr>
                  <Th modifier="wrap">View</Th>
                  <Th modifier="wrap">State</Th>
                  <Th modifier="wrap">Records seen</Th>
                  <Th modifier="wrap">Behind</Th>
                </Tr>
              </Thead>
              <Tbody>
                {data.views.map((view) => (
                  <Tr key={view.name}>
                    <Td dataLabel="View">{view.name}</Td>
                    <Td dataLabel="State">
                      <StateLabel text={view.state} tone={view.state === 'following' ? 'green' : 'orange'} isCompact />
                    </Td>
                    <Td dataLabel="Records seen">{view.checkpoint.toLocaleString('en')}</Td>
                    <Td dataLabel="Behind">{view.lag_records.toLocaleString('en')}</Td>
                  </Tr>
                ))}
              </Tbody>
            </Table>
          </CardBody>
        </Card>
      </div>
    </>
  );
}
