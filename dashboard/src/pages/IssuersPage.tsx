// Who signs: roots and intermediates, active and retired.
import { Card, CardBody, PageSection } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import type { ReactNode } from 'react';
import { useIssuersQuery } from '../api/api';
import type { IssuerRow } from '../api/api';
import type { Tone } from '../lanes/words';
import { Answer, Heading } from '../parts/Answer';
import { StateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { AppLink } from '../parts/address';
import { useNow } from '../parts/now';

const MONTHS_3 = 90 * 86_400;

/** How an issuer does, in a word. */
export function issuerState(one: IssuerRow, now: number): { text: string; tone: Tone } {
  const left = Date.parse(one.not_after) / 1000 - now;
  if (left < 0) return { text: 'Expired', tone: 'grey' };
  if (one.status === 'retired') return { text: 'Retired', tone: 'blue' };
  if (left < MONTHS_3) return { text: 'Ends soon', tone: 'orange' };
  if (one.role === 'root') return { text: 'Root', tone: 'green' };
  if (one.status === 'active') return one.is_here ? { text: 'Issues', tone: 'green' } : { text: 'Key not here', tone: 'red' };
  return { text: 'Not yet active', tone: 'grey' };
}

export function IssuerHealth({ issuers, now }: { issuers: readonly IssuerRow[]; now: number }): ReactNode {
  return (
    <Table aria-label="Issuers" variant="compact" gridBreakPoint="grid-md">
      <Thead>
        <Tr>
          <Th modifier="wrap">Issuer</Th>
          <Th modifier="wrap">State</Th>
          <Th modifier="wrap">Valid until</Th>
          <Th modifier="wrap">Certificates ever</Th>
          <Th modifier="wrap">CRL number</Th>
          <Th modifier="wrap">Key</Th>
        </Tr>
      </Thead>
      <Tbody>
        {issuers.map((one) => (
          <Tr key={one.issuer}>
            <Td dataLabel="Issuer">
              <Text value={one.name} most={80} />
            </Td>
            <Td dataLabel="State">
              <StateLabel {...issuerState(one, now)} isCompact />
            </Td>
            <Td dataLabel="Valid until">
              <Time value={one.not_after} now={now} as="day" /> (<Time value={one.not_after} now={now} />)
            </Td>
            <Td dataLabel="Certificates ever">
              {one.role === 'root' ? (
                '–'
              ) : (
                <AppLink to="/certificates" query={{ issuer: one.issuer }}>
                  {one.certificates.toLocaleString('en')}
                </AppLink>
              )}
            </Td>
            <Td dataLabel="CRL number">{one.crl_number || '–'}</Td>
            <Td dataLabel="Key">{one.key_type}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

export function IssuersPage(): ReactNode {
  const asked = useIssuersQuery(undefined);
  const now = useNow();
  return (
    <>
      <Heading title="Issuers" />
      <PageSection>
        <Answer asked={asked}>
          {(data) => (
            <Card>
              <CardBody>
                <IssuerHealth issuers={data.issuers} now={now} />
              </CardBody>
            </Card>
          )}
        </Answer>
      </PageSection>
    </>
  );
}
