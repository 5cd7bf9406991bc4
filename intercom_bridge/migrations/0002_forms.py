from __future__ import annotations

from django.db import migrations, models

import intercom_bridge.models.ticket_profile


class Migration(migrations.Migration):
    dependencies = [("intercom_bridge", "0002_datamodel")]

    operations = [
        migrations.AddField(
            model_name="ticketprofile",
            name="defaults",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text='What a new ticket gets unless the teammate says otherwise, for example {"urgency": "3"}: '
                "values as iTop keeps them, the id of a service. Those of attributes that the form does not ask for "
                "are sent as well.",
                validators=[intercom_bridge.models.ticket_profile.validate_defaults],
            ),
        ),
    ]
