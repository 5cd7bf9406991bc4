from django.db import migrations, models
import django.db.models.functions.text

from ._online import AddIndexOnline


class Migration(migrations.Migration):

    # While the old version goes on writing.
    atomic = False

    dependencies = [
        ('intercom_bridge', '0002_admins_and_ops'),
    ]

    operations = [
        AddIndexOnline(
            model_name='delivery',
            index=models.Index(fields=['part_id'], name='delivery_part'),
        ),
        AddIndexOnline(
            model_name='delivery',
            index=models.Index(fields=['created_at', 'state', 'conversation', 'ticket'], name='delivery_counted'),
        ),
        AddIndexOnline(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'failed')), fields=['reason'], name='delivery_failed'),
        ),
        AddIndexOnline(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'skipped')), fields=['reason'], name='delivery_skipped'),
        ),
        AddIndexOnline(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'restored')), fields=['reason'], name='delivery_restored'),
        ),
        AddIndexOnline(
            model_name='delivery',
            index=models.Index(condition=models.Q(('reason__gt', ''), ('state', 'written')), fields=['reason'], name='delivery_remarked'),
        ),
        AddIndexOnline(
            model_name='mention',
            index=models.Index(fields=['contact_id'], name='mention_contact'),
        ),
        AddIndexOnline(
            model_name='notification',
            index=models.Index(fields=['topic', 'received_at'], name='notification_topic'),
        ),
        AddIndexOnline(
            model_name='notification',
            index=models.Index(fields=['workspace', 'received_at'], name='notification_workspace'),
        ),
        AddIndexOnline(
            model_name='notification',
            index=models.Index(condition=models.Q(('verdict', 'failed')), fields=['reason'], name='notification_failed'),
        ),
        AddIndexOnline(
            model_name='notification',
            index=models.Index(condition=models.Q(('verdict', 'skipped')), fields=['reason'], name='notification_skipped'),
        ),
        AddIndexOnline(
            model_name='notification',
            index=models.Index(condition=models.Q(('cleaned_at__isnull', True), ('mentions_noted', False)), fields=['workspace'], name='notification_not_noted'),
        ),
        AddIndexOnline(
            model_name='personmatch',
            index=models.Index(fields=['person_id'], name='person_match_person'),
        ),
        AddIndexOnline(
            model_name='personmatch',
            index=models.Index(fields=['contact_id'], name='person_match_contact'),
        ),
        AddIndexOnline(
            model_name='personmatch',
            index=models.Index(django.db.models.functions.text.Upper('email'), name='person_match_email'),
        ),
        AddIndexOnline(
            model_name='personmatch',
            index=models.Index(django.db.models.functions.text.Upper('name'), name='person_match_name'),
        ),
        AddIndexOnline(
            model_name='submission',
            index=models.Index(fields=['caller_id'], name='submission_caller'),
        ),
        AddIndexOnline(
            model_name='ticket',
            index=models.Index(fields=['ref'], name='ticket_ref'),
        ),
    ]
