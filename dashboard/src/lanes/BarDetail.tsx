// The certificate that the keyboard or the mouse has chosen, in words.
import { DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm } from '@patternfly/react-core';
import type { ReactNode } from 'react';
import type { Lane } from '../api/api';
import { AppLink } from '../parts/address';
import { CertificateLabel } from '../parts/Labels';
import { Text } from '../parts/Text';
import { Time } from '../parts/Time';
import { shortSerial, withShortSerials } from '../text';
import type { Bar } from './geometry';
import { nodeName } from './words';

function Term({ term, children }: { term: string; children: ReactNode }): ReactNode {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

export function BarDetail({ bar, lane, now }: { bar: Bar; lane: Lane | undefined; now: number }): ReactNode {
  const one = bar.link.certificate;
  const last = bar.link.refusals[bar.link.refusals.length - 1];
  return (
    <section className="ql-detail" aria-live="polite" aria-label="Chosen certificate">
      <DescriptionList isCompact columnModifier={{ default: '1Col', md: '2Col', lg: '3Col' }}>
        <Term term="Certificate">
          <AppLink to={`/certificates/${one.serial}`}>{shortSerial(one.serial)}</AppLink> <CertificateLabel certificate={one} />
        </Term>
        <Term term="Node">
          <Text value={nodeName(one.node)} />
          {bar.link.unusual ? (
            <>
              {' '}
              (unusual: the lane is of <Text value={nodeName(lane?.node ?? null)} />)
            </>
          ) : null}
        </Term>
        <Term term="Valid">
          <Time value={one.not_before} now={now} /> to <Time value={one.not_after} now={now} />
        </Term>
        {one.replaced_by ? (
          <Term term="Replaced">
            <Time value={one.replaced_at ?? one.not_after} now={now} /> by{' '}
            <AppLink to={`/certificates/${one.replaced_by}`}>{shortSerial(one.replaced_by)}</AppLink>
          </Term>
        ) : (
          <Term term="Renewal expected">
            <Time value={one.due_at} now={now} />
          </Term>
        )}
        {one.revoked_at ? (
          <Term term="Revoked">
            <Time value={one.revoked_at} now={now} /> ({one.reason})
          </Term>
        ) : null}
        {last ? (
          <Term term={`Refused ${bar.link.refusals.length} times`}>
            {bar.link.contested ? 'Contested: somebody renewed first. ' : ''}
            <Text value={withShortSerials(last.detail)} most={160} /> <Time value={last.time} now={now} />
          </Term>
        ) : null}
      </DescriptionList>
    </section>
  );
}
